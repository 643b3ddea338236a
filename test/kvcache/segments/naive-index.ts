import { ChainHasher } from '../../../src/kvcache/hashing/chain-hash.ts'
import { below } from '../random.ts'

/** What a block counts by plane. */
export const WEIGHTS = [1, 0.8, 0.5, 0.9]

/** References by owner, plane and key, in maps: what the index must agree with. */
export class NaiveIndex {
  readonly #counts = new Map<string, number>()
  #key(owner: number, plane: number, keys: Int32Array, i: number) {
    return `${owner} ${plane} ${keys[2 * i]} ${keys[2 * i + 1]}`
  }
  store(owner: number, plane: number, keys: Int32Array, i: number) {
    const key = this.#key(owner, plane, keys, i)
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }
  remove(owner: number, plane: number, keys: Int32Array, i: number): boolean {
    const key = this.#key(owner, plane, keys, i)
    const count = this.#counts.get(key) ?? 0
    if (count > 1) this.#counts.set(key, count - 1)
    else this.#counts.delete(key)
    return count > 0
  }
  retire(owner: number) {
    for (const key of this.#counts.keys()) if (key.startsWith(`${owner} `)) this.#counts.delete(key)
  }
  match(owner: number, keys: Int32Array, from: number, count: number) {
    let blocks = 0
    let weighted = 0
    for (; blocks < count; blocks++) {
      let best = 0
      for (let plane = 0; plane < 4; plane++) {
        if (this.#counts.has(this.#key(owner, plane, keys, from + blocks))) {
          best = Math.max(best, WEIGHTS[plane]!)
        }
      }
      if (best === 0) break
      weighted += best
    }
    return { blocks, weighted }
  }
  /** Distinct blocks that the owner holds on a medium. */
  heldBy(owner: number) {
    const held = new Set<string>()
    for (const key of this.#counts.keys()) {
      const [name, plane, ...pair] = key.split(' ')
      if (name === String(owner) && plane !== '3') held.add(pair.join(' '))
    }
    return held.size
  }
  get size() {
    return this.#counts.size
  }
  /** Distinct blocks. */
  get blocks() {
    return new Set([...this.#counts.keys()].map((key) => key.split(' ').slice(2).join(' '))).size
  }
}

/** Chains that share beginnings: a random tree's paths. */
export function randomChains(random: () => number, chains: number, maxBlocks: number) {
  const pick = below(random)
  const hasher = new ChainHasher(Buffer.from('chains!!'))
  const made: Int32Array[] = []
  const tokens = new Int32Array(maxBlocks)
  for (let c = 0; c < chains; c++) {
    const length = 1 + pick(maxBlocks)
    const keys = new Int32Array(length * 2)
    const other = made[pick(made.length)]
    const shared = other === undefined ? 0 : Math.min(pick(other.length / 2 + 1), length)
    if (shared > 0) keys.set(other!.subarray(0, shared * 2))
    hasher.root(1, undefined, undefined)
    if (shared > 0) {
      hasher.lo = keys[2 * shared - 2]!
      hasher.hi = keys[2 * shared - 1]!
    }
    for (let i = shared; i < length; i++) tokens[i] = pick(1 << 20)
    hasher.extend(tokens, shared, length - shared, 1, keys, shared)
    made.push(keys)
  }
  return made
}

/** The keys of one chain. */
export function chain(blocks: number, seed = 1): Int32Array {
  const tokens = Int32Array.from({ length: blocks }, (_, i) => i * 7919 + seed)
  const keys = new Int32Array(blocks * 2)
  const hasher = new ChainHasher(Buffer.from('chains!!'))
  hasher.root(1, undefined, undefined)
  hasher.extend(tokens, 0, blocks, 1, keys, 0)
  return keys
}
