import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Encoder } from 'cbor-x'
import type { EngineBlockHash, EngineHashAlgorithm } from '../../../src/framework/services.ts'
import { createEngineBlockHasher, tagExtras } from '../../../src/kvcache/hashing/engine-hash.ts'
import { below, seeded } from '../random.ts'

interface Vector {
  readonly name: string
  readonly algo: EngineHashAlgorithm
  readonly seed: string | null
  readonly block_size: number
  readonly tokens: readonly number[]
  readonly extra_keys: readonly (readonly unknown[] | null)[] | null
  readonly parent_none_hash: string
  readonly digests: readonly string[] | null
  readonly u64: readonly string[] | null
}
interface IntegerVector {
  readonly algo: EngineHashAlgorithm
  readonly seed: string
  readonly block_size: number
  readonly tokens: readonly number[]
  readonly none_hash_u64: string
  readonly u64: readonly string[]
}

const vectors = JSON.parse(
  readFileSync(new URL('../../fixtures/vectors/vllm-block-hash.json', import.meta.url), 'utf8'),
) as { vllm: readonly Vector[]; vllm_0_10_0: readonly IntegerVector[] }

const hex = (hash: EngineBlockHash) => Buffer.from(hash.digest as Uint8Array).toString('hex')

function blocksOf(tokens: readonly number[], size: number) {
  return Array.from({ length: Math.floor(tokens.length / size) }, (_, i) =>
    tokens.slice(i * size, (i + 1) * size),
  )
}

describe('createEngineBlockHasher', () => {
  it('is given vectors of both families', () => {
    const count = (algo: string) => vectors.vllm.filter((vector) => vector.algo === algo).length
    assert.ok(count('sha256_cbor') >= 12, `${count('sha256_cbor')} of sha256_cbor`)
    assert.ok(count('xxhash_cbor') >= 2, `${count('xxhash_cbor')} of xxhash_cbor`)
  })

  for (const vector of vectors.vllm) {
    it(`agrees with vector ${vector.name}`, () => {
      const hasher = createEngineBlockHasher(vector.algo, vector.seed ?? '')
      let parent = hasher.root
      if (vector.seed !== null) assert.equal(hex(parent), vector.parent_none_hash)
      else {
        const digest = Buffer.from(vector.parent_none_hash, 'hex')
        parent = { digest, published: digest.readBigUInt64BE(digest.length - 8) }
      }
      const hashes = blocksOf(vector.tokens, vector.block_size).map(
        (tokens, i) => (parent = hasher.next(parent, tokens, vector.extra_keys?.[i] ?? null)),
      )
      if (vector.digests) assert.deepEqual(hashes.map(hex), vector.digests)
      if (vector.u64)
        assert.deepEqual(
          hashes.map(({ published }) => `${published}`),
          vector.u64,
        )
      assert.ok(vector.digests ?? vector.u64)
    })
  }

  for (const vector of vectors.vllm_0_10_0) {
    it(`chains integers as 0.10.0 does, seed ${vector.seed}`, () => {
      const hasher = createEngineBlockHasher(vector.algo, vector.seed)
      let parent = hasher.root
      assert.equal(`${parent.published}`, vector.none_hash_u64)
      assert.deepEqual(
        blocksOf(vector.tokens, vector.block_size).map((tokens) => {
          parent = hasher.next(parent, tokens, null)
          return `${parent.published}`
        }),
        vector.u64,
      )
    })
  }

  it('gives the root that vLLM 0.30 and later give without a seed', () => {
    assert.equal(
      hex(createEngineBlockHasher('sha256', 'vllm-none-hash').root),
      '066b1e8987e027138e98701c46128929378935f9b6cd1549105ae6b4f0d71198',
    )
  })

  it('writes the same CBOR as cbor-x', () => {
    const encoder = new Encoder({ useRecords: false, tagUint8Array: false })
    const random = seeded(11)
    const pick = below(random)
    const number = () => pick(2 ** pick(33))
    const extra = (): unknown => {
      switch (pick(4)) {
        case 0:
          return 'ß'.repeat(pick(300))
        case 1:
          return Buffer.alloc(pick(300), 7)
        case 2:
          return [`id${pick(1000)}`, number()]
        default:
          return ['mm', 'x', -pick(70_000) - 1]
      }
    }
    const hasher = createEngineBlockHasher('sha256_cbor', '0')
    for (let i = 0; i < 300; i++) {
      const tokens = Array.from({ length: 1 + pick(300) }, number)
      const extras = pick(2) === 0 ? null : Array.from({ length: 1 + pick(30) }, extra)
      const expected = createHash('sha256')
        .update(encoder.encode([hasher.root.digest, tokens, extras]))
        .digest('hex')
      assert.equal(hex(hasher.next(hasher.root, tokens, extras)), expected)
    }
  })

  it('refuses what no version of vLLM hashes', () => {
    for (const algorithm of ['sha256', 'sha256_cbor'] as const) {
      const hasher = createEngineBlockHasher(algorithm, '0')
      assert.throws(() => hasher.next(hasher.root, [1], [{}]), TypeError)
    }
  })
})

describe('tagExtras', () => {
  it('tags adapter, images, salt and embeddings as vLLM 0.31 does', () => {
    const embeds = Buffer.of(1)
    assert.deepEqual(
      tagExtras(['sql', ['img', -3], embeds, 'tenant'], { name: 'sql', path: '/p' }),
      [
        ['lora', 'sql', '/p'],
        ['mm', 'img', -3],
        ['prompt_embeds', embeds],
        ['cache_salt', 'tenant'],
      ],
    )
    assert.equal(tagExtras([], undefined), null)
    assert.equal(tagExtras(null, undefined), null)
  })
})
