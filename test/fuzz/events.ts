import assert from 'node:assert/strict'
import { encode } from '@msgpack/msgpack'
import fc from 'fast-check'
import { EventDecoder } from '../../src/kvcache/events/event-decoder.ts'
import { type FuzzTarget, JSON_VALUES, nearly } from './target.ts'

const TOKENS = Array.from({ length: 32 }, (_, i) => i * 5000)
const HASHES = [0x6d4fa0e5fdb93342n, -5n, 7n]
const EVENTS = [
  ['BlockStored', HASHES.slice(0, 2), null, TOKENS, 16, null, 'GPU', null],
  ['BlockRemoved', HASHES, 'GPU'],
  ['AllBlocksCleared'],
  {
    type: 'BlockStored',
    block_hashes: [new Uint8Array(32).fill(9), 3n],
    parent_block_hash: 12n,
    token_ids: TOKENS,
    block_size: 16,
    lora_id: 1,
    medium: 'CPU',
    lora_name: 'adapter',
    extra_keys: [null, ['salt', ['image', -3], new Uint8Array(4)]],
    group_idx: 0,
    kv_cache_spec_kind: 'full_attention',
  },
  { type: 'BlockRemoved', block_hashes: HASHES, medium: null, group_idx: 1 },
  { type: 'SomethingNew', what: {} },
]
const packed = (value: unknown) => encode(value, { useBigInt64: true })
const SAMPLES = EVENTS.map((event) => packed([1.5, [event, event], 0])).concat(
  packed([1.5, EVENTS, 3]),
)

/** A message is a batch or none; of a batch only what is there is handed out, and nothing is allocated for what is not. */
export const events: FuzzTarget = {
  name: 'events',
  inputs: fc.oneof(
    nearly(SAMPLES),
    fc.uint8Array({ maxLength: 200 }),
    fc
      .tuple(fc.double(), fc.array(fc.oneof(JSON_VALUES, fc.constantFrom(...EVENTS))))
      .map((batch) => packed(batch)),
  ),
  check(bytes: Uint8Array) {
    const decoder = new EventDecoder()
    if (!decoder.open(bytes)) return
    const seen = { tokens: 0, hashes: 0, calls: 0 }
    decoder.forEach({
      stored(event) {
        seen.calls++
        seen.tokens += event.tokenCount
        seen.hashes += event.hashCount
        assert.ok(event.tokens.length >= event.tokenCount)
        assert.ok(event.hashes.length >= 2 * event.hashCount)
      },
      removed(event) {
        seen.calls++
        seen.hashes += event.hashCount
        assert.ok(event.hashes.length >= 2 * event.hashCount)
      },
      cleared: () => void seen.calls++,
      malformed: () => void seen.calls++,
    })
    assert.ok(
      seen.tokens + seen.hashes + seen.calls <= 3 * bytes.length,
      'more than the bytes hold',
    )
    assert.ok(decoder.tokens.length <= 8192 && decoder.hashes.length <= 512)
  },
}
