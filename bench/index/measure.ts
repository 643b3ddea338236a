import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PerformanceObserver, performance } from 'node:perf_hooks'
import { OwnedHashes } from '../../src/kvcache/hashing/owned-hashes.ts'
import { MemoryBudget } from '../../src/kvcache/segments/memory-budget.ts'
import { GPU, SegmentIndex } from '../../src/kvcache/segments/segment-index.ts'
import { CHAIN_BLOCKS, LONG_BLOCKS, NO_PARENT, type TraceMeta } from './generate.ts'

/** What both indexes can do; parents and blocks are numbers of pairs in `keys`. */
interface Subject {
  store(owner: number, keys: Int32Array, first: number, count: number, parent: number): void
  remove(owner: number, keys: Int32Array, block: number): unknown
  lookup(keys: Int32Array, first: number, count: number): number
  /** Owner (from 0) and blocks of one answer of the last lookup. */
  owner(place: number): number
  blocks(owner: number): number
  bytes(): number
}

/** Figures of one index on one trace. */
export interface Figures {
  readonly subject: string
  readonly trace: string
  readonly store32PerS: number
  readonly store1PerS: number
  readonly removePerS: number
  readonly lookup113Us: number
  readonly lookup2000Us: number
  readonly missUs: number
  readonly ownersFound: number
  readonly rssBytesPerEntry: number
  readonly ownBytesPerEntry: number
  /** CPU time of the longest call while loading, among the calls without a garbage collection. */
  readonly longestCallMs: number
  /** Longest garbage collection while loading. */
  readonly longestGcMs: number
  readonly checksums: {
    readonly q113: number
    readonly q2000: number
    readonly afterRemove: number
  }
}

async function createSubject(name: string, owners: number): Promise<Subject> {
  if (name === 'baseline') {
    // biome-ignore lint/suspicious/noExplicitAny: an untyped experiment
    const { SegIndex } = (await import('./baseline-segment-index.mjs' as string)) as any
    const index = new SegIndex(owners, { maxBlocks: 1 << 24 })
    return {
      store: (owner, keys, first, count, parent) => index.store(owner, keys, first, count, parent),
      remove: (owner, keys, block) => index.remove(owner, keys, block),
      lookup: (keys, first, count) => index.lookup(keys, first, count),
      owner: (place) => index.pods[place],
      blocks: (owner) => index.scores[owner],
      bytes: () => index.bytes(),
    }
  }
  return joined(owners, name === 'own-hashes')
}

/** Our index as events fill it: by the engines' hashes, which are the same of all, or of each its own. */
function joined(owners: number, hasOwnHashes: boolean): Subject {
  const budget = new MemoryBudget(8 * 2 ** 30)
  const index = new SegmentIndex(budget)
  const numbers = Array.from({ length: owners }, () => index.addOwner())
  const from = numbers[0]!
  const joins = numbers.map((number) => {
    const join = new OwnedHashes(index, budget)
    join.begin(number)
    return join
  })
  const saltOf = (owner: number) => (hasOwnHashes ? Math.imul(owner + 1, 0x9e3779b1) : 0)
  const eventKeys = new Int32Array(64)
  const eventHashes = new Int32Array(64)
  return {
    store: (owner, keys, first, count, parent) => {
      const salt = saltOf(owner)
      for (let i = 0; i < 2 * count; i += 2) {
        const lo = keys[2 * first + i]!
        const hi = keys[2 * first + i + 1]!
        eventKeys[i] = lo
        eventKeys[i + 1] = hi
        eventHashes[i] = ~hi
        eventHashes[i + 1] = lo ^ salt
      }
      const parentLo = parent === NO_PARENT ? 0 : keys[2 * parent]!
      const parentHi = parent === NO_PARENT ? 0 : keys[2 * parent + 1]!
      joins[owner]!.store(GPU, eventHashes, eventKeys, count, parentLo, parentHi)
    },
    remove: (owner, keys, block) =>
      joins[owner]!.remove(GPU, ~keys[2 * block + 1]!, keys[2 * block]! ^ saltOf(owner)),
    lookup: (keys, first, count) => index.lookup(keys, first, count),
    owner: (place) => index.found(place) - from,
    blocks: (owner) => index.matched(from + owner),
    bytes: () => budget.usedBytes,
  }
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Runs one index over the trace in `folder`. CPU time decides; run it in a process of its own. */
export async function measure(name: string, trace: string, folder: string): Promise<Figures> {
  const read = (file: string) => {
    const bytes = readFileSync(join(folder, file))
    return new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
  }
  const meta = JSON.parse(readFileSync(join(folder, 'meta.json'), 'utf8')) as TraceMeta
  const keys = new Int32Array(read('keys.bin').buffer)
  const stores = read('stores.bin')
  const removes = read('removes.bin')
  const keysOf = (file: string) => {
    const blocks = read(file)
    const pairs = new Int32Array(blocks.length * 2)
    for (let i = 0; i < blocks.length; i++) {
      pairs[2 * i] = keys[2 * blocks[i]!]!
      pairs[2 * i + 1] = keys[2 * blocks[i]! + 1]!
    }
    return pairs
  }
  const queries = keysOf('queries.bin')
  const longQueries = keysOf('long-queries.bin')
  const missing = keysOf('missing.bin')

  const warm = await warmUp(name, meta, keys, stores, removes, queries)
  globalThis.gc?.()
  globalThis.gc?.()
  const rssBefore = process.memoryUsage.rss()
  const subject = await createSubject(name, meta.owners)
  let startedS = cpuSeconds()
  for (let i = 0; i < stores.length; i += 4) {
    subject.store(stores[i]!, keys, stores[i + 3]!, stores[i + 1]!, stores[i + 2]!)
  }
  const storeS = cpuSeconds() - startedS
  globalThis.gc?.()
  const rssBytes = process.memoryUsage.rss() - rssBefore
  const ownBytes = subject.bytes()

  const checksum = (pairs: Int32Array, blocks: number) => {
    let sum = 0
    let found = 0
    for (let at = 0; at < pairs.length / 2; at += blocks) {
      const owners = subject.lookup(pairs, at, blocks)
      found += owners
      for (let f = 0; f < owners; f++) {
        const owner = subject.owner(f)
        sum = (sum + subject.blocks(owner) * (owner + 1)) >>> 0
      }
    }
    return { sum, found: found / (pairs.length / 2 / blocks) }
  }
  const timed = (pairs: Int32Array, blocks: number) => {
    const count = pairs.length / 2 / blocks
    let best = Number.POSITIVE_INFINITY
    for (let round = 0, spent = 0; round < 3 || spent < 0.6; round++) {
      const from = cpuSeconds()
      for (let i = 0; i < count; i++) subject.lookup(pairs, i * blocks, blocks)
      const took = cpuSeconds() - from
      spent += took
      best = Math.min(best, (took / count) * 1e6)
    }
    return best
  }
  const q113 = checksum(queries, CHAIN_BLOCKS)
  const q2000 = checksum(longQueries, LONG_BLOCKS)
  const lookup113Us = timed(queries, CHAIN_BLOCKS)
  const lookup2000Us = timed(longQueries, LONG_BLOCKS)
  const missUs = timed(missing, CHAIN_BLOCKS)

  startedS = cpuSeconds()
  for (let i = 0; i < removes.length; i += 2) subject.remove(removes[i]!, keys, removes[i + 1]!)
  const removeS = cpuSeconds() - startedS
  const afterRemove = checksum(queries, CHAIN_BLOCKS).sum

  const single = await createSubject(name, meta.owners)
  startedS = cpuSeconds()
  for (let i = 0; i < stores.length; i += 4) {
    storeOneByOne(single, keys, stores, i)
  }
  const singleS = cpuSeconds() - startedS
  const pauses = await measurePauses(await createSubject(name, meta.owners), keys, stores)
  if (warm.length === 0) throw new Error('what the code was compiled with is gone')
  return {
    subject: name,
    trace,
    store32PerS: meta.entries / storeS,
    store1PerS: meta.entries / singleS,
    removePerS: meta.removes / removeS,
    lookup113Us,
    lookup2000Us,
    missUs,
    ownersFound: q113.found,
    rssBytesPerEntry: rssBytes / meta.entries,
    ownBytesPerEntry: ownBytes / meta.entries,
    ...pauses,
    checksums: { q113: q113.sum, q2000: q2000.sum, afterRemove },
  }
}

/** Stores the blocks of the event at `at` in as many events. */
function storeOneByOne(subject: Subject, keys: Int32Array, stores: Uint32Array, at: number): void {
  const first = stores[at + 3]!
  for (let k = 0; k < stores[at + 1]!; k++) {
    subject.store(stores[at]!, keys, first + k, 1, k > 0 ? first + k - 1 : stores[at + 2]!)
  }
}

/** Loads an empty index once more, with a look at the clock around every call. */
async function measurePauses(subject: Subject, keys: Int32Array, stores: Uint32Array) {
  const collections: { startTime: number; duration: number }[] = []
  const observer = new PerformanceObserver((list) => collections.push(...list.getEntries()))
  observer.observe({ entryTypes: ['gc'] })
  // In arrays, so that measuring makes little garbage itself.
  const count = stores.length / 4
  const startedMs = new Float64Array(count)
  const endedMs = new Float64Array(count)
  const cpuMs = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const at = i * 4
    const cpuS = cpuSeconds()
    startedMs[i] = performance.now()
    subject.store(stores[at]!, keys, stores[at + 3]!, stores[at + 1]!, stores[at + 2]!)
    endedMs[i] = performance.now()
    cpuMs[i] = (cpuSeconds() - cpuS) * 1000
  }
  await new Promise((resolve) => setTimeout(resolve, 50))
  observer.disconnect()
  let longestCallMs = 0
  for (let i = 0; i < count; i++) {
    if (cpuMs[i]! <= longestCallMs) continue
    const collected = collections.some(
      (gc) => gc.startTime < endedMs[i]! && gc.startTime + gc.duration > startedMs[i]!,
    )
    if (!collected) longestCallMs = cpuMs[i]!
  }
  return { longestCallMs, longestGcMs: Math.max(0, ...collections.map((gc) => gc.duration)) }
}

/**
 * Fills, asks and empties two indexes, so that the code is compiled: a router lives in that state. Who calls must keep
 * them, since compiled code goes with the last object of the shapes that it was compiled for.
 */
async function warmUp(
  name: string,
  meta: TraceMeta,
  keys: Int32Array,
  stores: Uint32Array,
  removes: Uint32Array,
  queries: Int32Array,
): Promise<readonly Subject[]> {
  const subjects: Subject[] = []
  for (let round = 0; round < 2; round++) {
    const subject = await createSubject(name, meta.owners)
    for (let i = 0; i < stores.length; i += 4) {
      subject.store(stores[i]!, keys, stores[i + 3]!, stores[i + 1]!, stores[i + 2]!)
    }
    for (let i = 0; i < 3000; i++) subject.lookup(queries, i * CHAIN_BLOCKS, CHAIN_BLOCKS)
    for (let i = 0; i < removes.length; i += 2) {
      subject.remove(removes[i]!, keys, removes[i + 1]!)
    }
    subjects.push(subject)
  }
  const subject = await createSubject(name, meta.owners)
  for (let i = 0; i < Math.min(stores.length, 16_000); i += 4) {
    storeOneByOne(subject, keys, stores, i)
  }
  return [...subjects, subject]
}
