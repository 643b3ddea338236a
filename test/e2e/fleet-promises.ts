import assert from 'node:assert/strict'
import { seededRandom } from '../../src/framework/random.ts'
import type { Asked, Fleet, Held } from './fleet.ts'
import { NAMES, type Name } from './fleet-engines.ts'
import { eventually } from './process.ts'

const BLOCK_TOKENS = 64
const PREFIX_BLOCKS = 20

const random = seededRandom(20_261_121)
/** Token ids that no other prompt begins with. */
export const tokens = (count: number): readonly number[] =>
  Array.from({ length: count }, () => Math.floor(random.next() * 150_000))
/** A request with a prompt of its own. */
export const fresh = (more: Partial<Asked> = {}): Asked => ({
  prompt: tokens(BLOCK_TOKENS + 1),
  ...more,
})

/** What one file promises, tried on a fleet. */
export type Promised = (fleet: Fleet) => Promise<void>

/** Where `count` requests go, one after the other. */
export async function enginesOf(
  fleet: Fleet,
  count: number,
  more: Partial<Asked> = {},
): Promise<Name[]> {
  const engines: Name[] = []
  for (let i = 0; i < count; i++) engines.push((await fleet.ask(fresh(more))).engine)
  return engines
}

/** Requests go to these engines, to each of them, and to no other. */
export const only =
  (names: string, more: Partial<Asked> = {}): Promised =>
  async (fleet) => {
    const seen = new Set(await enginesOf(fleet, 8 * names.length, more))
    assert.deepEqual([...seen].sort().join(''), names, JSON.stringify(more.headers ?? {}))
  }

/** Prompts that begin as earlier ones go where those went, and the engine finds them in its cache. */
export const remembers =
  (source: 'tracked' | 'routed'): Promised =>
  async (fleet) => {
    const prompts = Array.from({ length: 4 }, () => tokens(PREFIX_BLOCKS * BLOCK_TOKENS))
    const homes: Name[] = []
    for (const prompt of prompts) homes.push((await fleet.ask({ prompt })).engine)
    if (source === 'tracked') {
      await eventually('events of all four are applied', async () => {
        const blocks = (await fleet.endpoints()).reduce((sum, each) => sum + each.blocks, 0)
        return blocks >= prompts.length * PREFIX_BLOCKS
      })
    }
    for (const [i, prompt] of [...prompts.entries()].reverse()) {
      const { id, engine, cachedTokens } = await fleet.ask({ prompt: [...prompt, ...tokens(70)] })
      assert.equal(engine, homes[i], `prompt ${i}`)
      assert.ok(cachedTokens >= PREFIX_BLOCKS * BLOCK_TOKENS, `${cachedTokens} tokens cached`)
      assert.equal((await fleet.decision(id)).indexCoverage?.source, source)
    }
  }

/** No request goes to an engine that has this load; all of the others get some. */
export const avoids =
  (load: 'queue' | 'running' | 'memory', among = 'abcd'): Promised =>
  async (fleet) => {
    const busy = among[1] as Name
    await fleet.burden(busy, load, tokens)
    await only(among.replace(busy, ''))(fleet)
    await fleet.relieve()
  }

/** Requests that are under way at the same time are spread evenly. */
export const spreads =
  (among = 'abcd'): Promised =>
  async (fleet) => {
    const held: Held[] = []
    for (let i = 0; i < 3 * among.length; i++) held.push(await fleet.pick(fresh()))
    const counts = NAMES.map((name) => held.filter(({ engine }) => engine === name).length)
    assert.deepEqual(
      counts,
      NAMES.map((name) => (among.includes(name) ? 3 : 0)),
    )
    await Promise.all(held.map((each) => each.finish()))
  }

/** Prompts that no cache knows take turns. */
export const rotates: Promised = async (fleet) => {
  const engines = await enginesOf(fleet, 8)
  for (const name of NAMES) {
    assert.equal(engines.slice(0, 4).filter((each) => each === name).length, 1, engines.join(' '))
  }
  assert.deepEqual(engines.slice(4), engines.slice(0, 4))
}

/** Requests that bring a response's header back stay. */
export const keepsToken =
  (header: string): Promised =>
  async (fleet) => {
    const homes = new Set<Name>()
    for (let client = 0; client < 8; client++) {
      const first = await fleet.ask(fresh())
      homes.add(first.engine)
      const token = { [header]: first.set[header]! }
      for (const engine of await enginesOf(fleet, 3, { headers: token })) {
        assert.equal(engine, first.engine)
      }
    }
    assert.ok(homes.size > 1, 'all clients went to one engine')
  }

/** Requests with an id stay where the first of them went. */
export const keepsId =
  (header: string): Promised =>
  async (fleet) => {
    const homes = new Set<Name>()
    for (let session = 0; session < 8; session++) {
      const engines = await enginesOf(fleet, 4, { headers: { [header]: `session-${session}` } })
      assert.equal(new Set(engines).size, 1, engines.join(' '))
      homes.add(engines[0]!)
    }
    assert.ok(homes.size > 1, 'all sessions went to one engine')
  }

/** Prompts of that many tokens go to these engines, to each of them, and to no other. */
export const ofLength =
  (length: number, names: string): Promised =>
  async (fleet) => {
    const seen = new Set<Name>()
    for (let i = 0; i < 8 * names.length; i++) {
      seen.add((await fleet.ask({ prompt: tokens(length) })).engine)
    }
    assert.equal([...seen].sort().join(''), names, `${length} tokens`)
  }
