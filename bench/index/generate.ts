import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What a trace holds; see README.md for its files. */
export interface TraceMeta {
  readonly owners: number
  /** Living (block, owner) pairs after the load. */
  readonly entries: number
  readonly blocks: number
  readonly knownBlocks: number
  readonly distinctStored: number
  readonly stores: number
  readonly removes: number
  readonly queries: number
  readonly longQueries: number
}

/** Parent of a chain's first block in the traces. */
export const NO_PARENT = 0xffffffff
export const CHAIN_BLOCKS = 113
export const LONG_BLOCKS = 2000

const QUERIES = 20_000
const LONG_QUERIES = 400
const SYSTEM_BLOCKS = 94
const USER_BLOCKS = 19
const USERS_PER_GROUP = 5
const GROUP_BLOCKS = SYSTEM_BLOCKS + USERS_PER_GROUP * USER_BLOCKS
const UNKNOWN_BLOCKS = 4096
const BLOCKS_PER_EVENT = 32

function finalMix(h: number): number {
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function mulberry32(seed: number): () => number {
  let s = seed >>> 0
  return () => {
    s = (s + 0x6d2b79f5) >>> 0
    let t = Math.imul(s ^ (s >>> 15), 1 | s)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/**
 * Writes the trace of `owners` owners that come to hold about `entries` blocks: groups of five users who share a system
 * prompt of 94 blocks and have 19 blocks of their own, users drawn by Zipf's law, and a tenth of the entries in chains of
 * 2,000 blocks. The same arguments give the same bytes.
 */
export function generateTrace(owners: number, entries: number, folder: string): TraceMeta {
  const random = mulberry32(0x9e3779b9 ^ (owners * 7919) ^ entries)
  const randomBelow = (n: number) => Math.floor(random() * n)
  const groups = Math.max(4, Math.round((0.9 * entries) / (GROUP_BLOCKS * 4)))
  const pairs = Math.max(2, Math.round((0.1 * entries) / LONG_BLOCKS))
  const longChains = Math.ceil(pairs / 2)
  const knownBlocks = groups * GROUP_BLOCKS + longChains * LONG_BLOCKS
  const blocks = knownBlocks + UNKNOWN_BLOCKS
  const groupOf = (user: number) => Math.floor(user / USERS_PER_GROUP)
  const systemBase = (group: number) => group * GROUP_BLOCKS
  const userBase = (user: number) =>
    systemBase(groupOf(user)) + SYSTEM_BLOCKS + (user % USERS_PER_GROUP) * USER_BLOCKS
  const longBase = (chain: number) => groups * GROUP_BLOCKS + chain * LONG_BLOCKS

  const keys = new Uint32Array(blocks * 2)
  for (let i = 0; i < blocks; i++) {
    keys[2 * i] = finalMix(i ^ 0x7feb352d)
    keys[2 * i + 1] = finalMix(finalMix(i + 0x7654321) ^ 0x846ca68b)
  }

  const users = groups * USERS_PER_GROUP
  const shuffledGroups = Uint32Array.from({ length: groups }, (_, i) => i)
  shuffle(shuffledGroups, randomBelow)
  const cumulative = new Float64Array(users)
  for (let i = 0, c = 0; i < users; i++) cumulative[i] = c += 1 / (i + 1)
  const drawUser = () => {
    const x = random() * cumulative[users - 1]!
    let low = 0
    let high = users - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (cumulative[middle]! < x) low = middle + 1
      else high = middle
    }
    return shuffledGroups[groupOf(low)]! * USERS_PER_GROUP + (low % USERS_PER_GROUP)
  }

  const stores: number[] = []
  let stored = 0
  const store = (owner: number, parent: number, first: number, count: number) => {
    for (let at = 0; at < count; at += BLOCKS_PER_EVENT) {
      const n = Math.min(BLOCKS_PER_EVENT, count - at)
      stores.push(owner, n, at > 0 ? first + at - 1 : parent, first + at)
    }
    stored += count
  }
  const held = Array.from({ length: owners }, () => new Map<number, number>())
  const order: number[] = []
  const longHeld = new Set<number>()
  let nextLong = 0
  let misses = 0
  while (stored < entries) {
    if (nextLong < pairs && stored >= ((nextLong + 0.5) / pairs) * entries) {
      let chain: number
      let owner: number
      let pair: number
      do {
        chain = randomBelow(longChains)
        owner = randomBelow(owners)
        pair = chain * owners + owner
      } while (longHeld.has(pair) && longHeld.size < longChains * owners)
      longHeld.add(pair)
      store(owner, NO_PARENT, longBase(chain), LONG_BLOCKS)
      nextLong++
      continue
    }
    const owner = randomBelow(owners)
    const mine = held[owner]!
    let user = drawUser()
    let bit = 1 << (user % USERS_PER_GROUP)
    let current = mine.get(groupOf(user)) ?? 0
    for (let t = 0; (current & bit) !== 0 && t < 8; t++) {
      user = t < 4 ? drawUser() : randomBelow(users)
      bit = 1 << (user % USERS_PER_GROUP)
      current = mine.get(groupOf(user)) ?? 0
    }
    if ((current & bit) !== 0) {
      if (++misses > 1e7) break
      continue
    }
    const group = groupOf(user)
    if (current === 0) store(owner, NO_PARENT, systemBase(group), SYSTEM_BLOCKS)
    store(owner, systemBase(group) + SYSTEM_BLOCKS - 1, userBase(user), USER_BLOCKS)
    mine.set(group, current | bit)
    order.push(owner, user)
  }

  // A fifth of the entries goes again, leaf first as engines do it: whole users, then the system prompt with the last.
  const removes: number[] = []
  const shuffledPairs = Uint32Array.from({ length: order.length / 2 }, (_, i) => i)
  shuffle(shuffledPairs, randomBelow)
  for (let i = 0; i < shuffledPairs.length && removes.length / 2 < 0.2 * stored; i++) {
    const owner = order[2 * shuffledPairs[i]!]!
    const user = order[2 * shuffledPairs[i]! + 1]!
    const group = groupOf(user)
    for (let k = USER_BLOCKS - 1; k >= 0; k--) removes.push(owner, userBase(user) + k)
    const left = held[owner]!.get(group)! & ~(1 << (user % USERS_PER_GROUP))
    held[owner]!.set(group, left)
    if (left !== 0) continue
    for (let k = SYSTEM_BLOCKS - 1; k >= 0; k--) removes.push(owner, systemBase(group) + k)
  }

  const unknown = () => knownBlocks + randomBelow(UNKNOWN_BLOCKS)
  const queries = new Uint32Array(QUERIES * CHAIN_BLOCKS)
  const missing = new Uint32Array(QUERIES * CHAIN_BLOCKS)
  const longQueries = new Uint32Array(LONG_QUERIES * LONG_BLOCKS)
  for (let i = 0; i < QUERIES; i++) {
    const user = drawUser()
    const depth = 1 + randomBelow(CHAIN_BLOCKS)
    for (let k = 0; k < CHAIN_BLOCKS; k++) {
      const known =
        k < SYSTEM_BLOCKS ? systemBase(groupOf(user)) + k : userBase(user) + k - SYSTEM_BLOCKS
      queries[i * CHAIN_BLOCKS + k] = k >= depth ? unknown() : known
      missing[i * CHAIN_BLOCKS + k] = unknown()
    }
  }
  for (let i = 0; i < LONG_QUERIES; i++) {
    const chain = randomBelow(longChains)
    const depth = 1 + randomBelow(LONG_BLOCKS)
    for (let k = 0; k < LONG_BLOCKS; k++) {
      longQueries[i * LONG_BLOCKS + k] = k < depth ? longBase(chain) + k : unknown()
    }
  }

  const distinct = new Set<number>()
  for (let i = 0; i < stores.length; i += 4) {
    for (let k = 0; k < stores[i + 1]!; k++) distinct.add(stores[i + 3]! + k)
  }
  const meta: TraceMeta = {
    owners,
    entries: stored,
    blocks,
    knownBlocks,
    distinctStored: distinct.size,
    stores: stores.length / 4,
    removes: removes.length / 2,
    queries: QUERIES,
    longQueries: LONG_QUERIES,
  }
  mkdirSync(folder, { recursive: true })
  const write = (name: string, data: Uint32Array) =>
    writeFileSync(join(folder, name), Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  write('keys.bin', keys)
  write('stores.bin', Uint32Array.from(stores))
  write('removes.bin', Uint32Array.from(removes))
  write('queries.bin', queries)
  write('missing.bin', missing)
  write('long-queries.bin', longQueries)
  writeFileSync(join(folder, 'meta.json'), JSON.stringify(meta))
  return meta
}

function shuffle(values: Uint32Array, randomBelow: (n: number) => number): void {
  for (let i = values.length - 1; i > 0; i--) {
    const j = randomBelow(i + 1)
    const t = values[i]!
    values[i] = values[j]!
    values[j] = t
  }
}
