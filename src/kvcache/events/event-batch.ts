import { Encoder } from '@msgpack/msgpack'
import type { KvEvent } from '../../framework/services.ts'

const encoder = new Encoder({ useBigInt64: true })

/**
 * The payload of one message as vLLM writes it (`KVEventBatch`).
 *
 * @param atS the engine's time in seconds
 * @param events as `eventAsMap` writes them, or as vLLM 0.10 does
 * @param rank data-parallel rank
 */
export function encodeEventBatch(
  atS: number,
  events: readonly unknown[],
  rank: number,
): Uint8Array {
  // A time without a fraction would be written as an integer.
  const seconds = Number.isInteger(atS) ? atS + 1e-6 : atS
  return encoder.encode([seconds, events, rank])
}

/** An event as vLLM 0.24 and later write it. */
export function eventAsMap(event: KvEvent): unknown {
  switch (event.type) {
    case 'BlockStored':
      return {
        type: event.type,
        block_hashes: event.blockHashes,
        parent_block_hash: event.parentBlockHash,
        token_ids: listOf(event.tokenIds),
        block_size: event.blockTokens,
        lora_id: null,
        medium: 'GPU',
        lora_name: event.loraName,
        extra_keys: event.extraKeys,
        group_idx: 0,
        kv_cache_spec_kind: 'full_attention',
      }
    case 'BlockRemoved':
      return { type: event.type, block_hashes: event.blockHashes, medium: 'GPU', group_idx: 0 }
    default:
      return { type: event.type }
  }
}

/** Several times as fast as `Array.from`, which asks an iterator for each. */
function listOf(ids: ArrayLike<number>): number[] {
  const list = new Array<number>(ids.length)
  for (let i = 0; i < ids.length; i++) list[i] = ids[i]!
  return list
}
