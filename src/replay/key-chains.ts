import type { KeysPart } from './format.ts'

/** Keys of a request's blocks at one block size: pairs of 32-bit numbers, prompt after prompt. */
export interface BlockKeys {
  readonly pairs: Int32Array
  /** Blocks of each prompt. */
  readonly counts: Int32Array
}

/** Blocks that are remembered of one pool and block size; then it begins anew. */
const MAX_KNOWN = 262_144

/**
 * Tells the blocks of prompts, each block once: since a key names all blocks before its own, a prompt is the number of its
 * last known block and the keys of those that follow.
 */
export class KeyChains {
  readonly #blockTokens: number
  /** Numbers of blocks by 52 bits of their keys. */
  #known = new Map<number, number>()
  #blocks = 0

  constructor(blockTokens: number) {
    this.#blockTokens = blockTokens
  }

  told({ pairs, counts }: BlockKeys): KeysPart {
    const c: [number, number, number, string][] = []
    let from = 0
    for (const count of counts) {
      const known = this.#knownOf(pairs, from, count)
      const last = known === 0 ? -1 : this.#numberOf(pairs, from + known - 1)!
      c.push([count, known, last, this.#add(pairs, from + known, count - known)])
      from += count
    }
    return { z: this.#blockTokens, c }
  }

  /** How many blocks of a prompt are known: with a block, all before it. */
  #knownOf(pairs: Int32Array, from: number, count: number): number {
    let low = 0
    let high = count
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#numberOf(pairs, from + middle - 1) === undefined) high = middle - 1
      else low = middle
    }
    return low
  }

  #numberOf(pairs: Int32Array, block: number): number | undefined {
    return this.#known.get(nameOf(pairs, block))
  }

  #add(pairs: Int32Array, from: number, count: number): string {
    if (this.#known.size + count > MAX_KNOWN) this.#known = new Map()
    for (let i = from; i < from + count; i++) this.#known.set(nameOf(pairs, i), this.#blocks++)
    const { buffer, byteOffset } = pairs
    return Buffer.from(buffer, byteOffset + from * 8, count * 8).toString('base64')
  }
}

function nameOf(pairs: Int32Array, block: number): number {
  return (pairs[2 * block + 1]! >>> 0) * 2 ** 20 + (pairs[2 * block]! >>> 12)
}
