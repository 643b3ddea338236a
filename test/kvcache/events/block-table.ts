import assert from 'node:assert/strict'
import type { KvEvent } from '../../../src/framework/services.ts'
import { request } from '../../../src/framework/testing.ts'
import type { KvCache } from '../../../src/kvcache/kv-cache.ts'
import { hashOf, tokensOf } from '../events.ts'
import type { ManualEndpoints } from '../fakes.ts'
import { below, seeded } from '../random.ts'

const CHAINS = Array.from({ length: 12 }, (_, i) => String.fromCharCode(0x100 + i))
const CHAIN_BLOCKS = 24
const BLOCK_TOKENS = 16

/** A store of consecutive blocks of a chain. */
function stores(chain: string, from: number, blocks: number): KvEvent {
  return {
    type: 'BlockStored',
    blockHashes: Array.from({ length: blocks }, (_, i) => hashOf(chain, from + i)),
    parentBlockHash: from === 0 ? null : hashOf(chain, from - 1),
    tokenIds: tokensOf(chain, from, blocks, BLOCK_TOKENS),
    blockTokens: BLOCK_TOKENS,
    loraName: null,
    extraKeys: Array.from({ length: blocks }, () => null),
  }
}

/** The block table of an engine: a plain map, and the random events that change it. */
export class BlockTable {
  readonly #chains = new Map(CHAINS.map((chain) => [chain, new Set<number>()]))
  readonly #below: (n: number) => number
  /** Share of messages that clear the whole cache. */
  readonly #clears: number
  readonly #random: () => number

  constructor(seed: number, clears = 0.0005) {
    this.#random = seeded(seed)
    this.#below = below(this.#random)
    this.#clears = clears
  }

  /** The events of one message: up to three changes of the table, which it has then. */
  change(): KvEvent[] {
    if (this.#random() < this.#clears) {
      this.clear()
      return [{ type: 'AllBlocksCleared' }]
    }
    return Array.from({ length: 1 + this.#below(3) }, () => {
      const chain = CHAINS[this.#below(CHAINS.length)]!
      const blocks = this.#chains.get(chain)!
      const leading = this.#leading(chain)
      if (blocks.size === 0 || (leading < CHAIN_BLOCKS && this.#random() < 0.6)) {
        let count = 1
        while (
          count < 1 + this.#below(3) &&
          leading + count < CHAIN_BLOCKS &&
          !blocks.has(leading + count)
        ) {
          count++
        }
        for (let i = 0; i < count; i++) blocks.add(leading + i)
        return stores(chain, leading, count)
      }
      const gone = [...blocks][this.#below(blocks.size)]!
      blocks.delete(gone)
      return { type: 'BlockRemoved', blockHashes: [hashOf(chain, gone)] }
    })
  }

  clear(): void {
    for (const blocks of this.#chains.values()) blocks.clear()
  }

  get size(): number {
    return [...this.#chains.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /** What a request of each chain finds here, in the order of the chains. */
  leading(): readonly number[] {
    return CHAINS.map((chain) => this.#leading(chain))
  }

  #leading(chain: string): number {
    const blocks = this.#chains.get(chain)!
    let count = 0
    while (blocks.has(count)) count++
    return count
  }
}

/** What a request of each chain finds in the index at one endpoint. */
function found(cache: KvCache, endpoints: ManualEndpoints, endpoint: number): readonly number[] {
  return CHAINS.map((chain) => {
    const prompt = Int32Array.from([...tokensOf(chain, 0, CHAIN_BLOCKS, BLOCK_TOKENS), 1])
    const asked = request({ targetModel: 'm' })
    const tokens = { prompts: [prompt], exact: true }
    return cache.index.match(asked, tokens, endpoints.list()).blocks[endpoint]!
  })
}

/** The index says of an endpoint what the table says of its engine, no block less and none more. */
export function assertEqual(
  table: BlockTable,
  cache: KvCache,
  endpoints: ManualEndpoints,
  endpoint = 0,
): void {
  assert.deepEqual(found(cache, endpoints, endpoint), table.leading())
  assert.equal(cache.status()[endpoint]!.blocks, table.size)
}

/** The index says of an endpoint nothing that the table does not say of its engine. */
export function assertWithin(table: BlockTable, cache: KvCache, endpoints: ManualEndpoints): void {
  const leading = table.leading()
  for (const [i, blocks] of found(cache, endpoints, 0).entries()) {
    assert.ok(blocks <= leading[i]!, `chain ${i}: ${blocks} found of ${leading[i]}`)
  }
  assert.ok(cache.status()[0]!.blocks <= table.size)
}
