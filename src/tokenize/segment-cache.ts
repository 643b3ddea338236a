import { LRUCache } from 'lru-cache'
import { ownText } from './own-text.ts'

/** Bookkeeping of one entry: map slot, list links, array header. */
const ENTRY_BYTES = 200

/** Ids of pieces of text that were tokenized before; the least recently used go first. */
export class SegmentCache {
  readonly #ids: LRUCache<string, Int32Array>

  /** @param maxBytes memory of keys and ids together, estimated as two bytes a character and four an id */
  constructor(maxBytes: number) {
    this.#ids = new LRUCache({
      maxSize: maxBytes,
      maxEntrySize: Math.ceil(maxBytes / 4),
      sizeCalculation: (ids, key) => ENTRY_BYTES + key.length * 2 + ids.length * 4,
    })
  }

  get bytes(): number {
    return this.#ids.calculatedSize
  }

  get(key: string): Int32Array | undefined {
    return this.#ids.get(key)
  }

  set(key: string, ids: Int32Array): void {
    this.#ids.set(ownText(key), ids)
  }
}
