import type { Endpoint } from '../../framework/endpoint.ts'
import type { PrefixMatch } from '../../framework/services.ts'
import type { PromptKeys } from '../hashing/request-keys.ts'

/** How much of one prompt endpoints were sent, an entry per endpoint; the arrays serve one prompt after the other. */
export class PrefixDepths {
  /** Blocks within the engine's own capacity. */
  recent = new Int32Array(0)
  /** Blocks within the ghost's capacity. */
  ghost = new Int32Array(0)
  blockTokens = new Int32Array(0)
  usableBlocks = new Int32Array(0)
  #keys: PromptKeys | undefined
  #endpoints: readonly Endpoint[] | undefined

  /** True while it has the answer for the prompt with these keys at the first endpoint's block size. */
  isOf(keys: PromptKeys, endpoints: readonly Endpoint[]): boolean {
    return this.#keys === keys && this.#endpoints === endpoints
  }

  /** All zeros, for another prompt. */
  begin(keys: PromptKeys | undefined, endpoints: readonly Endpoint[]): this {
    const { length } = endpoints
    if (this.recent.length !== length) {
      this.recent = new Int32Array(length)
      this.ghost = new Int32Array(length)
      this.blockTokens = new Int32Array(length)
      this.usableBlocks = new Int32Array(length)
    }
    this.recent.fill(0)
    this.ghost.fill(0)
    this.blockTokens.fill(0)
    this.usableBlocks.fill(0)
    this.#keys = keys
    this.#endpoints = endpoints
    return this
  }

  /** It has the answer for no prompt. */
  forget(): void {
    this.#keys = undefined
    this.#endpoints = undefined
  }

  /** @param blocks `recent` or `ghost` */
  answer(blocks: Int32Array): PrefixMatch {
    return {
      blocks: blocks.slice(),
      weighted: new Float64Array(blocks),
      blockTokens: this.blockTokens.slice(),
      usableBlocks: this.usableBlocks.slice(),
    }
  }
}
