import assert from 'node:assert/strict'
import { parseConfig } from '../../../src/config/parse.ts'
import { builtinPlugins } from '../../../src/plugins/index.ts'
import { Fleet, type Given } from '../fleet.ts'

const PROMPT = { prompt: ['p', 8] } as const

/** Does something with endpoints under a configuration of these plugins. */
async function under(
  plugins: readonly object[],
  endpoints: Readonly<Record<string, Given>>,
  run: (fleet: Fleet) => Promise<void>,
): Promise<void> {
  const fleet = new Fleet(
    parseConfig(JSON.stringify({ plugins }), 'p.json', builtinPlugins),
    endpoints,
  )
  try {
    await run(fleet)
  } finally {
    await fleet.close()
  }
}

describe('precise-prefix-cache-producer', () => {
  const producer = (parameters: object = {}) => ({
    type: 'precise-prefix-cache-producer',
    name: 'events',
    parameters,
  })
  const scorer = {
    type: 'prefix-cache-scorer',
    parameters: { prefixMatchInfoProducerName: 'events' },
  }
  const HELD = { a: {}, b: { holds: ['p', 8] }, c: { holds: ['q', 8] } } as const

  it('tells a prefix-cache-scorer that names it what engines hold', () =>
    under([producer(), scorer], HELD, async (fleet) => {
      assert.equal((await fleet.sendOff(PROMPT)).to, 'b')
      assert.equal((await fleet.sendOff({ prompt: ['q', 8] })).to, 'c')
    }))

  it('tells nothing to one that does not', () =>
    under([producer(), { type: 'prefix-cache-scorer' }], HELD, async (fleet) => {
      const to = [await fleet.sendOff(PROMPT), await fleet.sendOff({ prompt: ['r', 8] })]
      assert.ok(to.some((each) => each.to !== 'b'))
      // It has learned where the first one went, and that alone.
      assert.deepEqual(await fleet.spread(3, PROMPT), { [to[0]!.to]: 3 })
    }))

  it('says what media are worth', async () => {
    const media = (weight: number) =>
      producer({ indexerConfig: { kvCacheBackendConfigs: [{ name: 'cpu', weight }] } })
    const endpoints = { a: { holds: ['p', 8, 'CPU'] }, b: { holds: ['p', 4] } } as const
    await under([media(0.6), scorer], endpoints, async (fleet) =>
      assert.equal((await fleet.sendOff(PROMPT)).to, 'a'),
    )
    await under([media(0.4), scorer], endpoints, async (fleet) =>
      assert.equal((await fleet.sendOff(PROMPT)).to, 'b'),
    )
  })
})

describe('approx-prefix-cache-producer', () => {
  const others = [
    // Else a prompt counts as held where it was sent until events say otherwise.
    { type: 'precise-prefix-cache-producer', parameters: { speculativeIndexing: false } },
    { type: 'token-load-scorer' },
  ]
  const producer = (blockSizeTokens: number) => ({
    type: 'approx-prefix-cache-producer',
    parameters: { blockSizeTokens },
  })

  it('says how prompts are remembered for plugins that have no say in it', async () => {
    const endpoints = { a: {}, b: {} }
    await under([producer(64), ...others], endpoints, async (fleet) => {
      const { to } = await fleet.sendOff(PROMPT)
      assert.deepEqual(await fleet.spread(6, PROMPT), { [to]: 6 })
    })
    // No prompt is as long as one block.
    await under([producer(100_000), ...others], endpoints, async (fleet) =>
      assert.deepEqual(await fleet.spread(6, PROMPT), { a: 3, b: 3 }),
    )
  })
})
