// What it costs to take KV events in: decoding, joining engine hashes to our keys, and the index, beside a general decoder
// that only makes objects of the same bytes. `whole x`: how many times as fast the whole is as that decoder.
//
//   npm run bench -- intake [--rounds N]
//
// The table goes to stdout, the rows to bench/out/intake.json.
import { mkdirSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { decode } from '@msgpack/msgpack'
import type { Endpoint } from '../../src/framework/endpoint.ts'
import { EventDecoder, type EventSink } from '../../src/kvcache/events/event-decoder.ts'
import { parseTopic } from '../../src/kvcache/events/topic.ts'
import { message } from '../../test/kvcache/events.ts'
import { createKvCache, models } from '../../test/kvcache/fakes.ts'
import { below, seeded } from '../../test/kvcache/random.ts'
import { loadRecording, recordingNames } from '../../test/kvcache/recordings.ts'
import { report } from '../figures.ts'

type Frames = readonly [Buffer, Buffer, Buffer]

/** Messages that are applied before the clock starts, then those that are measured. */
interface Case {
  readonly name: string
  readonly batches: readonly Batch[]
  readonly before: readonly Batch[]
  readonly blocks: number
}

interface Batch {
  readonly engine: number
  readonly address: string
  readonly frames: Frames
}

interface Row {
  readonly case: string
  readonly batches: number
  readonly payloadBytes: number
  readonly blocksPerS: number
  readonly wholeUs: number
  readonly decodeUs: number
  readonly msgpackUs: number
}

const ENGINES = 8
const CHAINS = 2048
const BLOCKS = 32
const BLOCK_TOKENS = 64
const CHAINS_PER_REMOVAL = 8
const VOCABULARY = 151_936
const MODEL = 'Qwen3-32B'

class CountingSink implements EventSink {
  blocks = 0
  stored(event: EventDecoder): void {
    this.blocks += event.hashCount
  }
  removed(event: EventDecoder): void {
    this.blocks += event.hashCount
  }
  cleared(): void {}
  malformed(): void {}
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '6' } } })

const rows = [...syntheticCases(), recordedCase()].map((one) => measure(one, Number(values.rounds)))
print(rows)
const out = fileURLToPath(new URL('../out/', import.meta.url))
mkdirSync(out, { recursive: true })
writeFileSync(`${out}intake.json`, `${JSON.stringify(rows, undefined, 2)}\n`)
report(
  'intake',
  rows.map((row) => ({
    ...{ name: `${row.case}, as fast as @msgpack decodes`, unit: 'x', isMoreBetter: true },
    value: row.msgpackUs / row.wholeUs,
    ...(/^1 store of 32 blocks of 64/.test(row.case) && { limit: 1.5 }),
  })),
)

function syntheticCases(): readonly Case[] {
  const pick = below(seeded(7))
  const sequences = new Int32Array(ENGINES)
  const batchOf = (engine: number, events: readonly unknown[]): Batch => {
    const address = `10.0.0.${engine + 1}`
    return {
      engine,
      address,
      frames: message(`kv@${address}@${MODEL}`, sequences[engine]!++, events),
    }
  }
  const hashes: bigint[][] = []
  const stores: Batch[] = []
  const positional: Batch[] = []
  for (let chain = 0; chain < CHAINS; chain++) {
    const blockHashes = Array.from(
      { length: BLOCKS },
      () => (BigInt(pick(2 ** 32)) << 32n) | BigInt(pick(2 ** 32)),
    )
    hashes.push(blockHashes)
    const tokens = Array.from({ length: BLOCKS * BLOCK_TOKENS }, () => pick(VOCABULARY))
    const event = {
      type: 'BlockStored',
      block_hashes: blockHashes,
      parent_block_hash: null,
      token_ids: tokens,
      block_size: BLOCK_TOKENS,
      lora_id: null,
      medium: 'GPU',
      lora_name: null,
      extra_keys: Array.from({ length: BLOCKS }, () => null),
    }
    const engine = chain % ENGINES
    stores.push(batchOf(engine, [event]))
    sequences[engine]!--
    positional.push(batchOf(engine, [Object.values(event)]))
  }
  const removals: Batch[] = []
  for (let first = 0; first < CHAINS; first += ENGINES * CHAINS_PER_REMOVAL) {
    for (let engine = 0; engine < ENGINES; engine++) {
      const ofEngine = Array.from({ length: CHAINS_PER_REMOVAL }, (_, i) =>
        // Leaf first, as engines evict.
        hashes[first + engine + i * ENGINES]!.toReversed(),
      )
      const event = { type: 'BlockRemoved', block_hashes: ofEngine.flat(), medium: 'GPU' }
      removals.push(batchOf(engine, [event]))
    }
  }
  const blocks = CHAINS * BLOCKS
  const stored = `1 store of ${BLOCKS} blocks of ${BLOCK_TOKENS}`
  return [
    { name: `${stored}, maps`, batches: stores, before: [], blocks },
    { name: `${stored}, arrays`, batches: positional, before: [], blocks },
    {
      name: `1 removal of ${BLOCKS * CHAINS_PER_REMOVAL} blocks`,
      batches: removals,
      before: stores,
      blocks,
    },
  ]
}

function recordedCase(): Case {
  let engine = 0
  const batches = recordingNames().flatMap((name) => {
    const { messages } = loadRecording(name)
    const first = engine
    engine += 1 + Math.max(0, ...messages.map(({ src }) => src ?? 0))
    return messages.map(({ topic, frames, src }): Batch => {
      const address = parseTopic(topic)?.address ?? '127.0.0.1'
      return { engine: first + (src ?? 0), address, frames }
    })
  })
  const counter = new CountingSink()
  const decoder = new EventDecoder()
  for (const { frames } of batches) {
    if (decoder.open(frames[2])) decoder.forEach(counter)
  }
  return { name: 'recorded from vLLM', batches, before: [], blocks: counter.blocks }
}

function measure({ name, batches, before, blocks }: Case, rounds: number): Row {
  let wholeUs = Number.POSITIVE_INFINITY
  let decodeUs = Number.POSITIVE_INFINITY
  let msgpackUs = Number.POSITIVE_INFINITY
  const decoder = new EventDecoder()
  const sink = new CountingSink()
  for (let round = 0; round < rounds; round++) {
    const { cache, endpoints } = createKvCache(models([MODEL]), 1 << 30)
    const known: Endpoint[] = []
    const receive = ({ engine, address, frames }: Batch) => {
      // Ports keep apart recorded engines that had one address.
      const endpoint = (known[engine] ??= endpoints.add({ address, port: 8000 + engine }))
      return cache.intake.receive({ kind: 'dialled', endpoint }, frames)
    }
    for (const batch of before) receive(batch)
    let applied = 0
    const whole = cpuUs(() => {
      for (const batch of batches) if (receive(batch) === 'applied') applied++
    })
    if (applied !== batches.length) {
      throw new Error(`${name}: ${applied} of ${batches.length} batches applied`)
    }
    void cache.close()
    wholeUs = Math.min(wholeUs, whole / batches.length)
    const decoded = cpuUs(() => {
      for (const { frames } of batches) {
        decoder.open(frames[2])
        decoder.forEach(sink)
      }
    })
    decodeUs = Math.min(decodeUs, decoded / batches.length)
    const general = cpuUs(() => {
      for (const { frames } of batches) decode(frames[2], { useBigInt64: true })
    })
    msgpackUs = Math.min(msgpackUs, general / batches.length)
  }
  const bytes = batches.reduce((sum, { frames }) => sum + frames[2].length, 0)
  return {
    case: name,
    batches: batches.length,
    payloadBytes: Math.round(bytes / batches.length),
    blocksPerS: (blocks / (wholeUs * batches.length)) * 1e6,
    wholeUs,
    decodeUs,
    msgpackUs,
  }
}

function cpuUs(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

function print(all: readonly Row[]): void {
  const load = loadavg()[0]!.toFixed(1)
  console.log(`CPU time per batch, best of ${values.rounds} rounds; load of the machine ${load}`)
  const row = (cells: readonly string[]) =>
    console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(36) : cell.padStart(12))).join(''))
  const columns = ['batches', 'bytes', 'blocks/s', 'whole us', 'decode us', '@msgpack us']
  row(['case', ...columns, 'whole x'])
  for (const one of all) {
    row([
      one.case,
      String(one.batches),
      String(one.payloadBytes),
      `${(one.blocksPerS / 1e6).toFixed(2)}M`,
      one.wholeUs.toFixed(1),
      one.decodeUs.toFixed(1),
      one.msgpackUs.toFixed(1),
      (one.msgpackUs / one.wholeUs).toFixed(2),
    ])
  }
}
