/**
 * The KV blocks of one engine: who uses them, which hash each holds, and which goes first when room is needed. Behaves
 * as vLLM's block pool (https://github.com/vllm-project/vllm/blob/v0.10.0/vllm/v1/core/block_pool.py): equal blocks are
 * not merged, a block that nobody uses keeps its hash until it is taken, the longest unused is taken first.
 * Since some release after 0.10.0 a block without a hash is taken before all others; recordings of 0.32.0 show it.
 *
 * Block 0 is vLLM's null block and is never given out.
 */
export class BlockPool {
  /** Blocks that can be given out. */
  readonly usable: number
  readonly #unhashedFirst: boolean
  readonly #uses: Int32Array
  readonly #hashes: (bigint | undefined)[]
  /** The free blocks, a ring of two-way links through block 0; the next of 0 is taken first. */
  readonly #next: Int32Array
  readonly #previous: Int32Array
  readonly #holders = new Map<bigint, Set<number>>()
  #free: number

  /**
   * @param blocks all blocks, the null block included
   * @param unhashedFirst whether a released block without a hash is the next to be taken
   */
  constructor(blocks: number, unhashedFirst: boolean) {
    this.#unhashedFirst = unhashedFirst
    this.usable = blocks - 1
    this.#free = this.usable
    this.#uses = new Int32Array(blocks)
    this.#hashes = new Array<bigint | undefined>(blocks)
    this.#next = Int32Array.from({ length: blocks }, (_, i) => (i + 1) % blocks)
    this.#previous = Int32Array.from({ length: blocks }, (_, i) => (i + blocks - 1) % blocks)
  }

  get free(): number {
    return this.#free
  }

  /** Hashes that are held, each counted once. */
  get hashes(): number {
    return this.#holders.size
  }

  /** The block that a request with this hash would be given: the one that got the hash first. */
  find(hash: bigint): number | undefined {
    return this.#holders.get(hash)?.values().next().value
  }

  isFree(block: number): boolean {
    return this.#uses[block] === 0
  }

  /** Counts one more user of blocks that are there. */
  use(blocks: readonly number[]): void {
    for (const block of blocks) {
      if (this.#uses[block]!++ === 0) this.#unlink(block)
    }
  }

  /**
   * Takes the longest unused blocks. The caller has made sure that so many are free.
   *
   * @param evicted told the hash that each of them held
   */
  take(count: number, evicted: (hash: bigint) => void): number[] {
    const taken: number[] = []
    for (let i = 0; i < count; i++) {
      const block = this.#next[0]!
      this.#unlink(block)
      this.#uses[block] = 1
      const hash = this.#hashes[block]
      if (hash !== undefined) {
        this.#forget(block, hash)
        evicted(hash)
      }
      taken.push(block)
    }
    return taken
  }

  /** States what a block holds. */
  setHash(block: number, hash: bigint): void {
    this.#hashes[block] = hash
    const holders = this.#holders.get(hash)
    if (holders === undefined) this.#holders.set(hash, new Set([block]))
    else holders.add(block)
  }

  /** Counts one user less of a request's blocks. The last block becomes the first to be taken: a beginning stays longest. */
  release(blocks: readonly number[]): void {
    for (let i = blocks.length - 1; i >= 0; i--) {
      const block = blocks[i]!
      this.#uses[block]!--
      if (this.#uses[block] !== 0) continue
      const front = this.#unhashedFirst && this.#hashes[block] === undefined
      this.#link(block, front ? 0 : this.#previous[0]!)
    }
  }

  /** Forgets all hashes. False, and nothing done, while a block is in use. */
  reset(): boolean {
    if (this.#free < this.usable) return false
    this.#holders.clear()
    this.#hashes.fill(undefined)
    return true
  }

  #forget(block: number, hash: bigint): void {
    this.#hashes[block] = undefined
    const holders = this.#holders.get(hash)!
    holders.delete(block)
    if (holders.size === 0) this.#holders.delete(hash)
  }

  #unlink(block: number): void {
    const next = this.#next[block]!
    const previous = this.#previous[block]!
    this.#next[previous] = next
    this.#previous[next] = previous
    this.#free--
  }

  /** Puts a block behind another one; behind block 0 is the front. */
  #link(block: number, previous: number): void {
    const next = this.#next[previous]!
    this.#next[previous] = block
    this.#previous[block] = previous
    this.#next[block] = next
    this.#previous[next] = block
    this.#free++
  }
}
