import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { EngineHashAlgorithm, KvEvent } from '../../src/framework/services.ts'
import { createEngineBlockHasher } from '../../src/kvcache/hashing/engine-hash.ts'
import { EngineCore } from '../../src/sim/engine-core.ts'
import { type SimEngineOptions, simEngineOptions } from '../../src/sim/options.ts'
import type { FinishReason, Sequence } from '../../src/sim/sequence.ts'
import { clock } from '../tokenize/services.ts'

/** One run of a real engine: what it was sent and what it published. */
interface RecordedRun {
  readonly version: string
  readonly algorithm: EngineHashAlgorithm
  readonly seed: string
  readonly kvBlocks: number
  readonly blockTokens: number
  readonly requests: readonly RecordedRequest[]
  readonly messages: readonly (readonly RecordedEvent[])[]
}

interface RecordedRequest {
  readonly group: string
  readonly model: string
  readonly salt: string | null
  readonly prompt: readonly number[]
  readonly generated: readonly number[]
  /** Null where a streamed answer was not asked for its usage. */
  readonly cached: number | null
  readonly eventsBefore: number
}

interface RecordedEvent {
  readonly type: string
  readonly hashes: readonly string[]
  readonly parent?: string | null
  readonly tokens?: number
  /** Not in the events of 0.10.0. */
  readonly lora?: string | null
  readonly extra?: readonly unknown[]
}

const RUNS = JSON.parse(
  gunzipSync(readFileSync(join(import.meta.dirname, 'recorded-runs.json.gz'))).toString(),
) as Readonly<Record<string, RecordedRun>>

/** Requests whose order of steps a recording does not tell, and all that come after them. */
const CONCURRENT = new Set(['burst'])

/** Runs one request to its end, sampling the given ids. */
function run(
  core: EngineCore,
  prompt: readonly number[],
  answer: readonly number[],
  more: {
    readonly salt?: string | undefined
    readonly lora?: { name: string; path: string } | undefined
  } = {},
): { readonly sequence: Sequence; readonly ended: Promise<FinishReason> } {
  const left = [...answer]
  let sequence!: Sequence
  const ended = new Promise<FinishReason>((resolve) => {
    sequence = core.submit({
      promptIds: Int32Array.from(prompt),
      maxTokens: answer.length,
      lora: more.lora,
      loraNumber: more.lora === undefined ? 0 : 1,
      cacheSalt: more.salt,
      next: () => ({ id: left.shift()!, last: false }),
      sampled: (_id, finished) => {
        if (finished !== undefined) resolve(finished)
      },
    })
  })
  return { sequence, ended }
}

function ids(count: number, first = 1): number[] {
  return Array.from({ length: count }, (_, i) => first + i)
}

function coreWith(flags: Readonly<Record<string, string>>): {
  readonly core: EngineCore
  readonly messages: (readonly KvEvent[])[]
  readonly options: SimEngineOptions
} {
  const options = simEngineOptions({ decodeMs: '0.001', prefillTokensPerSecond: '1e9', ...flags })
  const messages: (readonly KvEvent[])[] = []
  const publisher = {
    publish: (events: readonly KvEvent[]) => void messages.push(events),
    close: async () => {},
  }
  const hasher = createEngineBlockHasher(options.hashAlgorithm, options.hashSeed)
  return { core: new EngineCore(options, hasher, publisher, clock, () => {}), messages, options }
}

function recorded(event: KvEvent, version: string): RecordedEvent {
  switch (event.type) {
    case 'BlockStored':
      return {
        type: event.type,
        hashes: event.blockHashes.map(String),
        parent: event.parentBlockHash === null ? null : String(event.parentBlockHash),
        tokens: event.tokenIds.length,
        ...(version === '0.10.0' ? {} : { lora: event.loraName, extra: event.extraKeys }),
      }
    case 'BlockRemoved':
      return { type: event.type, hashes: event.blockHashes.map(String) }
    case 'AllBlocksCleared':
      return { type: event.type, hashes: [] }
  }
}

describe('EngineCore', () => {
  for (const [name, recording] of Object.entries(RUNS)) {
    it(`publishes what vLLM published and reuses what it reused: ${name}`, async () => {
      const adapters = new Map(
        ['sql-lora', 'chat-lora'].map((lora) => [
          lora,
          { name: lora, path: `/tmp/h/tiny-qwen3/lora/${lora}` },
        ]),
      )
      const { core, messages } = coreWith({
        engineVersion: recording.version,
        seed: recording.seed,
        prefixCachingHashAlgo: recording.algorithm,
        blockSize: String(recording.blockTokens),
        numGpuBlocks: String(recording.kvBlocks),
      })
      const end = recording.requests.findIndex(({ group }) => CONCURRENT.has(group))
      const requests = recording.requests.slice(0, end)
      const cached: number[] = []
      for (const [i, request] of requests.entries()) {
        // The two equal prompts were sent at once.
        if (request.group === 'dup' && requests[i - 1]?.group === 'dup') continue
        const together = request.group === 'dup' ? requests.slice(i, i + 2) : [request]
        const running = together.map(({ prompt, generated, salt, model }) =>
          run(core, prompt, generated, { salt: salt ?? undefined, lora: adapters.get(model) }),
        )
        await Promise.all(running.map(({ ended }) => ended))
        for (const { sequence } of running) cached.push(sequence.cachedTokens!)
      }
      assert.deepEqual(
        cached,
        requests.map((request, i) => request.cached ?? cached[i]),
      )
      const wanted = recording.messages.slice(0, recording.requests[end]!.eventsBefore).flat()
      assert.deepEqual(
        messages.flat().map((event) => recorded(event, recording.version)),
        wanted,
      )
      assert.ok(wanted.length > 20)
      core.close()
    })
  }

  it('never reuses the block of the last token', async () => {
    const { core } = coreWith({ blockSize: '16', numGpuBlocks: '64' })
    await run(core, ids(64), [1]).ended
    const whole = run(core, ids(64), [1])
    await whole.ended
    const longer = run(core, ids(65), [1])
    await longer.ended
    assert.equal(whole.sequence.cachedTokens, 48)
    assert.equal(longer.sequence.cachedTokens, 64)
    core.close()
  })

  it('runs at most max-num-seqs at once, first come first served', async () => {
    const { core } = coreWith({ blockSize: '16', numGpuBlocks: '512', maxNumSeqs: '3' })
    const order: number[] = []
    let most = 0
    const all = [0, 1, 2, 3, 4, 5, 6].map((i) => {
      const { ended } = run(core, ids(20, i * 100), [1, 2, 3])
      return ended.then(() => {
        order.push(i)
        most = Math.max(most, core.running.length)
      })
    })
    assert.equal(core.waiting.length, 7)
    await Promise.all(all)
    assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6])
    assert.ok(most <= 3)
    assert.equal(core.kvUsage, 0)
    core.close()
  })

  it('frees place and blocks of an aborted request at once', async () => {
    const { core } = coreWith({
      blockSize: '16',
      numGpuBlocks: '64',
      maxNumSeqs: '1',
      decodeMs: '5',
    })
    const first = run(core, ids(160), ids(500))
    const second = run(core, ids(32, 1000), [1])
    await until(() => first.sequence.generated > 0)
    assert.ok(core.kvUsage > 0.15)
    core.abort(first.sequence)
    assert.equal(core.kvUsage, 0)
    core.abort(first.sequence)
    assert.equal(core.counts.aborted, 1)
    assert.equal(await second.ended, 'length')
    core.close()
  })

  it('takes a waiting request out of the queue when it is aborted', async () => {
    const { core } = coreWith({ blockSize: '16', numGpuBlocks: '64', maxNumSeqs: '1' })
    const first = run(core, ids(20), [1, 2])
    const second = run(core, ids(20), [1])
    core.abort(second.sequence)
    await first.ended
    assert.equal(core.waiting.length + core.running.length, 0)
    core.close()
  })

  it('computes the youngest request anew when blocks run out', async () => {
    const { core } = coreWith({ blockSize: '16', numGpuBlocks: '13', maxModelLen: '160' })
    const first = run(core, ids(64), ids(90))
    const second = run(core, ids(64, 500), ids(90))
    assert.deepEqual(await Promise.all([first.ended, second.ended]), ['length', 'length'])
    assert.ok(core.counts.preemptions > 0)
    assert.equal(second.sequence.generated, 90)
    assert.equal(core.kvUsage, 0)
    core.close()
  })

  it('tells of a reset with the next step, before what that step stores', async () => {
    const { core, messages } = coreWith({ blockSize: '16', numGpuBlocks: '64' })
    const first = run(core, ids(40), ids(3))
    await until(() => core.running.length > 0)
    assert.equal(core.resetCache(), false)
    await first.ended
    assert.equal(core.resetCache(), true)
    assert.equal(messages.length, 1)
    const again = run(core, ids(40), [1])
    await again.ended
    assert.equal(again.sequence.cachedTokens, 0)
    assert.deepEqual(
      messages[1]!.map((event) => event.type),
      ['AllBlocksCleared', 'BlockStored'],
    )
    core.close()
  })

  it('prefills a long prompt in steps of 8192 tokens, announcing each', async () => {
    const { core, messages } = coreWith({ blockSize: '64', numGpuBlocks: '1000' })
    await run(core, ids(20_000), [1]).ended
    const stored = messages
      .flat()
      .map((event) => (event.type === 'BlockStored' ? event.tokenIds.length : 0))
    assert.deepEqual(stored, [8192, 8192, 3584])
    core.close()
  })

  it('takes the time of its cost model', async () => {
    const seconds: number[] = []
    const options = simEngineOptions({
      decodeMs: '10',
      prefillTokensPerSecond: '20000',
      numGpuBlocks: '1000',
    })
    const hasher = createEngineBlockHasher(options.hashAlgorithm, options.hashSeed)
    const core = new EngineCore(
      options,
      hasher,
      undefined,
      clock,
      (first) => void seconds.push(first),
    )
    const startMs = clock.nowMs()
    await run(core, ids(4000), ids(11)).ended
    const wholeMs = clock.nowMs() - startMs
    // 4000 tokens at 20 a ms, then ten steps, each of 10 ms and 0.03 for the request and 0.2 for its context.
    assert.ok(seconds[0]! >= 0.209 && seconds[0]! < 2, `first token after ${seconds[0]} s`)
    assert.ok(wholeMs >= 210 + 102 - 2 && wholeMs < 3000, `whole answer after ${wholeMs} ms`)
    core.close()
  })
})

/** Waits for something that other turns of the event loop do. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = clock.nowMs() + 10_000
  while (!condition()) {
    assert.ok(clock.nowMs() < deadline, 'it did not happen within 10 s')
    await new Promise((resolve) => setImmediate(resolve))
  }
}
