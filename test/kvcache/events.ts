import { encode } from '@msgpack/msgpack'

/** Made-up engine hashes: one chain per letter. */
export function hashOf(chain: string, block: number): bigint {
  return BigInt(chain.charCodeAt(0)) * 0x1_0000_0001_0000n + BigInt(block) + 1n
}

/** Token ids of one block of a chain. */
export function tokensOf(
  chain: string,
  from: number,
  blocks: number,
  blockTokens: number,
): number[] {
  return Array.from(
    { length: blocks * blockTokens },
    (_, i) => chain.charCodeAt(0) * 100_000 + from * blockTokens + i,
  )
}

export interface StoredGiven {
  readonly chain?: string
  readonly from?: number
  readonly blocks?: number
  readonly blockTokens?: number
  readonly fields?: Readonly<Record<string, unknown>>
}

/** A store of consecutive blocks of a chain, as a map event. */
export function stored({
  chain = 'a',
  from = 0,
  blocks = 4,
  blockTokens = 16,
  fields,
}: StoredGiven = {}) {
  return {
    type: 'BlockStored',
    block_hashes: Array.from({ length: blocks }, (_, i) => hashOf(chain, from + i)),
    parent_block_hash: from === 0 ? null : hashOf(chain, from - 1),
    token_ids: tokensOf(chain, from, blocks, blockTokens),
    block_size: blockTokens,
    lora_id: null,
    medium: 'GPU',
    lora_name: null,
    extra_keys: Array.from({ length: blocks }, () => null),
    ...fields,
  }
}

export function removed(
  chain: string,
  blocks: readonly number[],
  fields?: Readonly<Record<string, unknown>>,
) {
  return {
    type: 'BlockRemoved',
    block_hashes: blocks.map((block) => hashOf(chain, block)),
    medium: 'GPU',
    ...fields,
  }
}

export const CLEARED = { type: 'AllBlocksCleared' }

/** Frames of one message. */
export function message(
  topic: string,
  sequence: number,
  events: readonly unknown[],
  { rank = 0, timestamp = sequence + 0.5 }: { rank?: number; timestamp?: number } = {},
): readonly [Buffer, Buffer, Buffer] {
  const number = Buffer.alloc(8)
  number.writeBigUInt64BE(BigInt(sequence))
  const payload = encode([timestamp, events, rank], { useBigInt64: true })
  return [Buffer.from(topic), number, Buffer.from(payload)]
}
