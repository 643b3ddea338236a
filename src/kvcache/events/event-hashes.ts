import { decode } from '@msgpack/msgpack'
import type { HashedBlocks } from '../hashing/hash-alignment.ts'
import type { EventDecoder } from './event-decoder.ts'

const MAX_EXTRA_BYTES = 4096

/** The blocks of a store, as a check of their hashes wants them; valid as long as the event is. */
export class EventHashes implements HashedBlocks {
  readonly parent: bigint | undefined
  readonly adapter: string | undefined
  readonly #event: EventDecoder

  /** @param isRoot true when nothing comes before the first block */
  constructor(event: EventDecoder, isRoot: boolean) {
    this.#event = event
    this.parent = isRoot ? undefined : u64(event.parentLo, event.parentHi)
    this.adapter = adapterOf(event)
  }

  get tokens(): Int32Array {
    return this.#event.tokens
  }

  get blockTokens(): number {
    return this.#event.blockTokens
  }

  get count(): number {
    return this.#event.hashCount
  }

  get tellsExtras(): boolean {
    return this.#event.hasExtraKeys
  }

  hashOf(block: number): bigint {
    const { hashes } = this.#event
    return u64(hashes[2 * block]!, hashes[2 * block + 1]!)
  }

  /** Events before vLLM 0.18 tell no extras: of these the adapter is known, by its number until 0.11 and by its name then. */
  extrasOf(block: number): readonly unknown[] | null | undefined {
    const event = this.#event
    if (!event.hasExtraKeys) {
      const adapter = event.loraName ?? event.loraId
      return adapter === undefined ? null : [adapter]
    }
    const extras: unknown[] = []
    event.extrasOf(block, (text, start, end) => extras.push(text ?? this.#extra(start, end)))
    if (extras.includes(undefined)) return undefined
    return extras.length === 0 ? null : extras
  }

  /** An image's identifier and offset, or the digest of embeddings; undefined for anything else. */
  #extra(start: number, end: number): unknown {
    const { bytes } = this.#event
    const head = bytes[start]!
    if ((head !== 0x92 && (head < 0xc4 || head > 0xc6)) || end - start > MAX_EXTRA_BYTES) {
      return undefined
    }
    const value = decode(bytes.subarray(start, end))
    if (!Array.isArray(value)) return value
    return typeof value[0] === 'string' && Number.isSafeInteger(value[1]) ? value : undefined
  }
}

/** Name of the adapter that the event's blocks are of; undefined for the base model. */
export function adapterOf(event: EventDecoder): string | undefined {
  if (event.loraName !== undefined) return event.loraName
  return event.loraId === undefined ? undefined : `lora:${event.loraId}`
}

function u64(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
}
