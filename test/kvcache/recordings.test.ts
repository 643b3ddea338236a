import assert from 'node:assert/strict'
import type { EngineBlockHash, EngineHashAlgorithm } from '../../src/framework/services.ts'
import { request } from '../../src/framework/testing.ts'
import { EventDecoder, type EventSink } from '../../src/kvcache/events/event-decoder.ts'
import { parseTopic } from '../../src/kvcache/events/topic.ts'
import { createEngineBlockHasher, tagExtras } from '../../src/kvcache/hashing/engine-hash.ts'
import { createKvCache, models } from './fakes.ts'
import { loadRecording, type Recording, recordingNames } from './recordings.ts'

/** Feeds a recording's messages as they came and judges its requests. */
function replay(recording: Recording) {
  const kv = createKvCache(models(['Qwen3-32B']))
  const topic = parseTopic(recording.messages[0]!.topic)!
  const endpoint = kv.endpoints.add({ address: topic.address, port: topic.port ?? 8000 })
  kv.cache.index.configure({ expected: {}, mediumWeights: {} })
  let fed = 0
  const wrong: string[] = []
  let matchedTokens = 0
  for (const { recorded, tokens, cachedTokens, rank } of recording.judged) {
    for (; fed < recorded.event_count_before; fed++) {
      assert.equal(
        kv.cache.intake.receive({ kind: 'bound' }, recording.messages[fed]!.frames),
        'applied',
      )
    }
    const asked = request({
      model: recorded.request.model ?? '',
      targetModel: recorded.request.model ?? '',
      cacheSalt: recorded.request.cache_salt,
      headers: rank === undefined ? {} : { 'x-data-parallel-rank': rank },
    })
    const prompt = { prompts: [Int32Array.from(tokens)], exact: true }
    const { blocks, blockTokens } = kv.cache.index.match(asked, prompt, [endpoint])
    const predicted = blocks[0]! * blockTokens[0]!
    matchedTokens += predicted
    if (predicted !== cachedTokens) {
      wrong.push(`${recorded.name}: predicted ${predicted}, engine ${cachedTokens}`)
    }
  }
  for (; fed < recording.messages.length; fed++) {
    kv.cache.intake.receive({ kind: 'bound' }, recording.messages[fed]!.frames)
  }
  return { kv, wrong, matchedTokens }
}

describe('KvCache on recordings of real vLLM', () => {
  let judged = 0
  for (const name of recordingNames()) {
    it(`predicts the cached tokens of every judged request of ${name}`, async () => {
      const recording = loadRecording(name)
      const { kv, wrong, matchedTokens } = replay(recording)
      judged += recording.judged.length
      assert.deepEqual(wrong, [])
      assert.ok(recording.judged.length >= 20, `only ${recording.judged.length} judged`)
      assert.ok(matchedTokens > 5_000, `only ${matchedTokens} tokens matched`)
      assert.equal(kv.metrics.sum('epp_kv_events_skipped_total{unknown_parent}'), 0)
      assert.equal(kv.metrics.sum('epp_kv_events_skipped_total{hash_conflict}'), 0)
      assert.deepEqual(kv.notices.list(), [])
      await kv.cache.close()
    })
  }

  it('learns algorithm, seed and block size where it can reproduce them', async () => {
    const learned: Record<string, string> = {}
    for (const name of recordingNames()) {
      const { kv } = replay(loadRecording(name))
      for (const { publishers } of kv.cache.status()) {
        learned[name] = publishers
          .map((p) => `${p.algorithm} ${p.hashSeed} ${p.blockTokens} ${p.coverage}`)
          .join(', ')
      }
      await kv.cache.close()
    }
    assert.deepEqual(learned, {
      'v0.10.0-block64-sha256_cbor_64bit-seed42': 'sha256_cbor_64bit 42 64 complete',
      'v0.23.0-block64-sha256_cbor-seed42-lora': 'sha256_cbor 42 64 complete',
      'v0.32.0-block32-default': 'sha256 vllm-none-hash 32 complete',
      'v0.32.0-block32-xxhash_cbor-seed42': 'xxhash_cbor 42 32 complete',
      'v0.32.0-block64-sha256_cbor-seed42-dial': 'sha256_cbor 42 64 complete',
      'v0.32.0-block64-sha256_cbor-seed42-dp2':
        'sha256_cbor 42 64 complete, sha256_cbor 42 64 complete',
      'v0.32.0-block64-sha256_cbor-seed42-lora': 'sha256_cbor 42 64 complete',
    })
  })

  after(() => console.log(`    ${judged} requests of real engines judged`))
})

const LORA_PATH = '/tmp/h/tiny-qwen3/lora/'

/** Recomputes every hash of a recording; the first hash that differs is given in words. */
function recompute(name: string, algorithm: EngineHashAlgorithm, seed: string, tagged: boolean) {
  const hasher = createEngineBlockHasher(algorithm, seed)
  const byPublished = new Map<bigint, EngineBlockHash>()
  let blocks = 0
  let differ = 0
  const u64 = (lo: number, hi: number) => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
  const sink: EventSink = {
    stored(event) {
      let parent = event.hasParent
        ? byPublished.get(u64(event.parentLo, event.parentHi))!
        : hasher.root
      for (let b = 0; b < event.hashCount; b++) {
        const extras: unknown[] = []
        event.extrasOf(b, (text) => extras.push(text))
        const adapter =
          event.loraName === undefined
            ? undefined
            : { name: event.loraName, path: LORA_PATH + event.loraName }
        const given = extras.length === 0 ? null : extras
        const tokens = event.tokens.subarray(b * event.blockTokens, (b + 1) * event.blockTokens)
        const hash = hasher.next(parent, tokens, tagged ? tagExtras(given, adapter) : given)
        const published = u64(event.hashes[2 * b]!, event.hashes[2 * b + 1]!)
        blocks++
        if (hash.published !== published) differ++
        byPublished.set(published, hash)
        parent = hash
      }
    },
    removed() {},
    cleared() {},
    malformed: () => assert.fail('malformed event in a recording'),
  }
  const decoder = new EventDecoder()
  for (const { frames } of loadRecording(name).messages) {
    assert.ok(decoder.open(frames[2]))
    decoder.forEach(sink)
  }
  return { blocks, differ }
}

describe('createEngineBlockHasher on recordings of real vLLM', () => {
  const cases = [
    ['v0.32.0-block64-sha256_cbor-seed42-dial', 'sha256_cbor', '42', true],
    ['v0.32.0-block64-sha256_cbor-seed42-lora', 'sha256_cbor', '42', true],
    ['v0.32.0-block64-sha256_cbor-seed42-dp2', 'sha256_cbor', '42', true],
    ['v0.32.0-block32-default', 'sha256', 'vllm-none-hash', true],
    ['v0.23.0-block64-sha256_cbor-seed42-lora', 'sha256_cbor', '42', false],
  ] as const
  for (const [name, algorithm, seed, tagged] of cases) {
    it(`gives every published hash of ${name}`, () => {
      const { blocks, differ } = recompute(name, algorithm, seed, tagged)
      assert.equal(differ, 0)
      assert.ok(blocks > 200, `only ${blocks} blocks`)
    })
  }

  it('gives every unsalted hash of 0.10.0, whose events do not tell the salt', () => {
    const { blocks, differ } = recompute(
      'v0.10.0-block64-sha256_cbor_64bit-seed42',
      'sha256_cbor_64bit',
      '42',
      false,
    )
    assert.ok(blocks > 200)
    assert.ok(differ > 0 && differ < 30, `${differ} of ${blocks} differ`)
  })
})
