import { LRUCache } from 'lru-cache'

/** Shorter prompts are hashed in little more time than they are looked for. */
export const LEAST_KNOWN_TOKENS = 8192
/** Tokens by which prompts are told apart before they are compared, spread over what both have at least. */
const SAMPLES = 32
const ID_BYTES = 4
/** Memory of an entry besides its arrays: key, list links, map slot. */
const ENTRY_BYTES = 300
/** Tokens that are compared one by one; more are compared as bytes. */
const COMPARED_SINGLY = 32

/** A prompt that was asked for once: not many come again. */
const SEEN = Symbol('seen')

interface Known {
  readonly prompt: Int32Array
  readonly keys: Int32Array
}

/** Keys of a prompt's first blocks. */
export interface KnownKeys {
  /** Pairs (lo, hi), of at least so many blocks. */
  readonly keys: Int32Array
  readonly blocks: number
}

/**
 * Long prompts and the keys of their blocks: those of a conversation that goes on need to be hashed from where it differs. The
 * least recently used go first.
 */
export class KnownPrompts {
  readonly #known: LRUCache<string, Known | typeof SEEN>

  constructor(maxBytes: number) {
    this.#known = new LRUCache({
      maxSize: maxBytes,
      maxEntrySize: Math.ceil(maxBytes / 4),
      sizeCalculation: (known) =>
        known === SEEN
          ? ENTRY_BYTES
          : ENTRY_BYTES + known.prompt.byteLength + known.keys.byteLength,
    })
  }

  get bytes(): number {
    return this.#known.calculatedSize
  }

  /**
   * @param chain what the keys depend on besides the tokens
   * @param prompt of at least `LEAST_KNOWN_TOKENS`
   */
  find(chain: string, prompt: Int32Array, blockTokens: number): KnownKeys | undefined {
    for (let level = levelOf(prompt); level >= LEAST_KNOWN_TOKENS; level /= 2) {
      const known = this.#known.get(keyOf(chain, prompt, level))
      if (known === undefined || known === SEEN) continue
      const common = Math.floor(commonTokens(prompt, known.prompt) / blockTokens)
      const blocks = Math.min(common, known.keys.length / 2)
      if (blocks > 0) return { keys: known.keys, blocks }
    }
    return undefined
  }

  /**
   * Remembers a prompt that goes on from one that was found, or that comes again.
   *
   * @param keys of all whole blocks that it has
   */
  learn(chain: string, prompt: Int32Array, keys: Int32Array, found: KnownKeys | undefined): void {
    const key = keyOf(chain, prompt, levelOf(prompt))
    // More than half of its blocks, which are two numbers each.
    const isMostKnown = found !== undefined && found.blocks > keys.length / 4
    const isNew = !isMostKnown && this.#known.peek(key) === undefined
    this.#known.set(key, isNew ? SEEN : { prompt, keys })
  }
}

/** The largest power of two that the prompt has tokens for. */
function levelOf({ length }: Int32Array): number {
  return 2 ** (31 - Math.clz32(length))
}

function keyOf(chain: string, prompt: Int32Array, level: number): string {
  let hash = 0
  for (let i = 0; i < level; i += level / SAMPLES) hash = Math.imul(hash ^ prompt[i]!, 0x01000193)
  return `${chain} ${level} ${hash}`
}

function commonTokens(a: Int32Array, b: Int32Array): number {
  const [left, right] = [bytesOf(a), bytesOf(b)]
  const isSame = (from: number, to: number) =>
    left.compare(right, from * ID_BYTES, to * ID_BYTES, from * ID_BYTES, to * ID_BYTES) === 0
  let same = 0
  let end = Math.min(a.length, b.length)
  if (isSame(0, end)) return end
  while (end - same > COMPARED_SINGLY) {
    const middle = (same + end) >>> 1
    if (isSame(same, middle)) same = middle
    else end = middle
  }
  while (a[same] === b[same]) same++
  return same
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
