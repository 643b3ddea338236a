import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { decode, encode } from '@msgpack/msgpack'
import { EventDecoder, type EventSink } from '../../../src/kvcache/events/event-decoder.ts'
import { below, seeded } from '../random.ts'
import { loadRecording, recordingNames } from '../recordings.ts'

const vectors = JSON.parse(
  readFileSync(new URL('../../fixtures/vectors/kv-event-batches.json', import.meta.url), 'utf8'),
) as Record<string, string>

const FIELDS = {
  BlockStored:
    'type block_hashes parent_block_hash token_ids block_size lora_id medium lora_name extra_keys group_idx kv_cache_spec_kind'.split(
      ' ',
    ),
  BlockRemoved: ['type', 'block_hashes', 'medium', 'group_idx'],
  AllBlocksCleared: ['type'],
}

interface Plain {
  type: string
  [field: string]: unknown
}

const u64 = (lo: number, hi: number) => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)

/** What the decoder shows, as plain values. */
function decoded(bytes: Uint8Array, decoder = new EventDecoder()) {
  if (!decoder.open(bytes)) return undefined
  const events: Plain[] = []
  const hashes = (d: EventDecoder) =>
    Array.from({ length: d.hashCount }, (_, i) => u64(d.hashes[2 * i]!, d.hashes[2 * i + 1]!))
  const sink: EventSink = {
    stored(d) {
      const extras: unknown[] = []
      for (let b = 0; b < d.hashCount; b++) {
        const block: unknown[] = []
        d.extrasOf(b, (text, start, end) =>
          block.push(text ?? decode(bytes.subarray(start, end), { useBigInt64: false })),
        )
        extras.push(block.length === 0 ? null : block)
      }
      events.push({
        type: 'BlockStored',
        block_hashes: hashes(d),
        parent_block_hash: d.hasParent ? u64(d.parentLo, d.parentHi) : null,
        token_ids: [...d.tokens.subarray(0, d.tokenCount)],
        block_size: d.blockTokens,
        lora_id: d.loraId ?? null,
        medium: d.medium ?? null,
        lora_name: d.loraName ?? null,
        extra_keys: extras,
        group_idx: d.group ?? null,
        kv_cache_spec_kind: d.specKind ?? null,
      })
    },
    removed(d) {
      events.push({
        type: 'BlockRemoved',
        block_hashes: hashes(d),
        medium: d.medium ?? null,
        group_idx: d.group ?? null,
      })
    },
    cleared: () => void events.push({ type: 'AllBlocksCleared' }),
    malformed: () => void events.push({ type: 'malformed' }),
  }
  decoder.forEach(sink)
  return { timestamp: decoder.timestamp, rank: decoder.rank, events }
}

function hashOf(value: unknown): bigint {
  if (value instanceof Uint8Array) return Buffer.from(value).readBigUInt64BE(value.length - 8)
  return BigInt.asUintN(64, BigInt(value as bigint | number))
}

/** The same from @msgpack/msgpack. */
function reference(bytes: Uint8Array) {
  const [timestamp, events, rank] = decode(bytes, { useBigInt64: true }) as [
    number,
    unknown[],
    unknown,
  ]
  return {
    timestamp,
    rank: Number(rank ?? 0),
    events: events.map((event): Plain => {
      const type = (Array.isArray(event) ? event[0] : (event as Plain).type) as keyof typeof FIELDS
      const fields = Array.isArray(event)
        ? Object.fromEntries(event.map((value, i) => [FIELDS[type][i] ?? '', value]))
        : (event as Plain)
      const stored = type === 'BlockStored'
      if (type === 'AllBlocksCleared') return { type }
      const hashes = (fields.block_hashes as unknown[]).map(hashOf)
      const parent = fields.parent_block_hash ?? null
      const number = (value: unknown) => (value == null ? null : Number(value))
      const medium = (fields.medium as string | null | undefined)?.toLowerCase() ?? null
      const removed = { type, block_hashes: hashes, medium, group_idx: number(fields.group_idx) }
      if (!stored) return removed
      const extras = (fields.extra_keys as unknown[] | undefined) ?? []
      return {
        ...removed,
        parent_block_hash: parent === null ? null : hashOf(parent),
        token_ids: (fields.token_ids as number[]).map(Number),
        block_size: Number(fields.block_size),
        lora_id: number(fields.lora_id),
        lora_name: fields.lora_name ?? null,
        extra_keys: hashes.map((_, i) => (extras[i] as unknown[] | null | undefined) ?? null),
        kv_cache_spec_kind: fields.kv_cache_spec_kind ?? null,
      }
    }),
  }
}

describe('EventDecoder', () => {
  for (const [name, hex] of Object.entries(vectors)) {
    it(`reads vector ${name} as @msgpack/msgpack does`, () => {
      const bytes = Buffer.from(hex, 'hex')
      assert.deepEqual(decoded(bytes), reference(bytes))
    })
  }

  it('reads every recorded message as @msgpack/msgpack does', () => {
    const decoder = new EventDecoder()
    let messages = 0
    for (const name of recordingNames()) {
      for (const { frames } of loadRecording(name).messages) {
        assert.deepEqual(decoded(frames[2], decoder), reference(frames[2]))
        messages++
      }
    }
    assert.ok(messages > 400, `${messages} messages`)
  })

  it('reads integers of every width, negative ones as two’s complement', () => {
    const hashes = [
      0n,
      127n,
      128n,
      255n,
      65_535n,
      65_536n,
      2n ** 32n - 1n,
      2n ** 32n,
      2n ** 64n - 1n,
    ]
    const negative = [-1n, -32n, -33n, -128n, -129n, -32_769n, -(2n ** 31n), -(2n ** 63n)]
    const small = (value: bigint) =>
      value >= -(2n ** 31n) && value < 2n ** 32n ? Number(value) : value
    const all = [...hashes, ...negative]
    const bytes = encode([1.5, [['BlockRemoved', all.map(small)]]], { useBigInt64: true })
    assert.deepEqual(
      decoded(bytes)!.events[0]!.block_hashes,
      all.map((value) => BigInt.asUintN(64, value)),
    )
  })

  it('reads tokens of all widths in every event of a batch, wherever the array ends', () => {
    const pick = below(seeded(12))
    const decoder = new EventDecoder()
    const widths = [0x80, 0x100, 0x1_0000, 2 ** 32]
    for (let round = 0; round < 3000; round++) {
      // Most arrays are of tokens only; some have a number that is none, or nothing but such.
      const events = Array.from({ length: 1 + pick(3) }, () => {
        const oddness = [0, 0, 0.02, 1][pick(4)]!
        const tokens = Array.from({ length: pick(60) }, () => {
          if (pick(1000) < oddness * 1000) return pick(2) === 0 ? -1 - pick(200) : 2n ** 40n + 7n
          return pick(widths[pick(4)]!)
        })
        return { type: 'BlockStored', block_hashes: [1], block_size: 1, token_ids: tokens }
      })
      const bytes = encode([1, events], { useBigInt64: true })
      const expected = events.map((event) =>
        event.token_ids.map((token) => Number(BigInt.asIntN(32, BigInt(token)))),
      )
      const tokensOf = decoded(bytes, decoder)!.events.map((event) => event.token_ids)
      assert.deepEqual(tokensOf, expected)
      for (let end = bytes.length - 1 - pick(70); end > 0; end -= 1 + pick(200)) {
        assert.equal(decoder.open(bytes.slice(0, end)), false)
      }
    }
  })

  it('skips unknown keys, elements, types and shapes', () => {
    const stored = { type: 'BlockStored', block_hashes: [1], token_ids: [5], block_size: 1 }
    const bytes = encode([
      1.5,
      [
        { session_id: { deep: [1, [2, { a: 'b' }]] }, ...stored, origin: 'NEW' },
        ['BlockPromoted', 1, 2],
        ['BlockStored', [2], null, [6], 1, null, 'GPU', null, null, 0, 'mamba', 3, 'more', [1]],
        ['BlockStored', 'not hashes', null, [6], 1],
        { type: 'BlockStored', block_hashes: [3], token_ids: [[1, 2]], block_size: 1 },
        [],
        7,
        ['AllBlocksCleared', 'more'],
      ],
      3,
      'more',
    ])
    const result = decoded(bytes)!
    assert.equal(result.rank, 3)
    assert.deepEqual(
      result.events.map(({ type, block_hashes }) => [type, block_hashes]),
      [
        ['BlockStored', [1n]],
        ['BlockStored', [2n]],
        ['malformed', undefined],
        ['malformed', undefined],
        ['malformed', undefined],
        ['malformed', undefined],
        ['AllBlocksCleared', undefined],
      ],
    )
  })

  const bombs: readonly (readonly [string, string])[] = [
    ['an array of 4 billion events', '92cb3ff8000000000000ddffffffff'],
    [
      'a nest of arrays that each claim 4 billion',
      `92cb3ff8000000000000${'ddffffffff'.repeat(1000)}`,
    ],
    ['4 billion hashes', '92cb3ff80000000000009192ac426c6f636b52656d6f766564ddffffffff'],
    ['4 billion tokens', '92cb3ff80000000000009194ab426c6f636b53746f7265649001c0ddffffffff'],
    ['a map of 4 billion', '92cb3ff800000000000091dfffffffff'],
    ['a text of 4 GB', '92cb3ff80000000000009191dbffffffff'],
    ['an extension of 4 GB', '92cb3ff80000000000009191c9ffffffff00'],
    ['no array', 'a3616263'],
    ['nothing', ''],
    ['a batch without events', '91cb3ff8000000000000'],
    ['bytes after the batch', '92cb3ff80000000000009000'],
    ['a negative rank', '93cb3ff80000000000009 0ff'.replaceAll(' ', '')],
    ['a byte that msgpack never uses', '92cb3ff800000000000091c1'],
  ]
  for (const [name, hex] of bombs) {
    it(`refuses ${name} without allocating`, () => {
      const decoder = new EventDecoder()
      const before = process.memoryUsage().arrayBuffers
      assert.equal(decoder.open(Buffer.from(hex, 'hex')), false)
      assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20)
    })
  }

  it('refuses every truncation of a batch, and survives every changed byte', () => {
    const decoder = new EventDecoder()
    const pick = below(seeded(9))
    for (const hex of Object.values(vectors)) {
      const bytes = Buffer.from(hex, 'hex')
      for (let end = 0; end < bytes.length; end++) {
        assert.equal(decoded(bytes.subarray(0, end), decoder), undefined)
      }
      for (let i = 0; i < 400; i++) {
        const changed = Buffer.from(bytes)
        for (let n = 1 + pick(3); n > 0; n--) changed[pick(changed.length)] = pick(256)
        decoded(changed, decoder)
      }
    }
    // The decoder still reads what is right.
    const bytes = Buffer.from(vectors['map_v0.24+']!, 'hex')
    assert.deepEqual(decoded(bytes, decoder), reference(bytes))
  })
})
