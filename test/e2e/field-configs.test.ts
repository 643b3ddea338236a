import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { Fleet, type FleetOptions } from './fleet.ts'
import { ADAPTER, NAMES, type Name } from './fleet-engines.ts'
import {
  avoids,
  enginesOf,
  fresh,
  keepsId,
  keepsToken,
  ofLength,
  only,
  type Promised,
  remembers,
  rotates,
  spreads,
  tokens,
} from './fleet-promises.ts'

const FOLDER = 'test/fixtures/configs'

/** Labels that tell the engines apart in every way that a file asks for. */
const LABELS: FleetOptions['labels'] = {
  a: { 'llm-d.ai/role': 'prefill', tier: 'gold', accelerator: 'h100', zone: 'east' },
  b: { 'llm-d.ai/role': 'decode', tier: 'silver', zone: 'west' },
  c: { 'llm-d.ai/role': 'prefill-decode', tier: 'gold', accelerator: 'a100', zone: 'west' },
  d: {
    ...{ 'llm-d.ai/role': 'encode', tier: 'gold', accelerator: 'h100', zone: 'east' },
    experimental: 'yes',
  },
}
const labelled = (label: string, values: Readonly<Record<Name, string>>) =>
  Object.fromEntries(
    NAMES.map((name) => [name, { ...LABELS[name], [label]: values[name] }]),
  ) as FleetOptions['labels']

interface Case extends Partial<Omit<FleetOptions, 'configText'>> {
  readonly promises: readonly Promised[]
}

const loads = (among = 'abcd') => [avoids('queue', among), avoids('memory', among)]
const connected = { events: 'engines connect' } as const
const dialled = { events: 'picker dials' } as const
const gauge = (name: Name, values: Readonly<Record<Name, number>>, metric: string) =>
  `${metric}{model_name="Qwen3-32B"} ${values[name]}\n`
const EMPTIEST_B = { a: 5, b: 0, c: 5, d: 5 }

/** What every file of the folder promises. */
const CASES: Readonly<Record<string, Case>> = {
  '2025-09-cache-tracking.yaml': { ...connected, promises: [remembers('tracked'), ...loads()] },
  '2026-01-precise-scorer.yaml': { ...connected, promises: [remembers('tracked'), ...loads()] },
  '2026-05-decode-filter.yaml': {
    ...connected,
    promises: [only('bc'), remembers('tracked'), ...loads('bc')],
  },
  '2026-06-active-active.yaml': {
    ...dialled,
    promises: [only('bc'), remembers('tracked'), ...loads('bc')],
  },
  '2026-10-precise-producer.yaml': { ...dialled, promises: [remembers('tracked'), spreads()] },
  '2026-11-precise-routing.yaml': { ...dialled, promises: [remembers('tracked'), spreads()] },
  'ack-precise.yaml': { ...connected, promises: [remembers('tracked'), ...loads()] },
  'conformance.yaml': {
    promises: [
      async (fleet) => {
        const { named, set } = await fleet.ask(
          fresh({
            headers: { 'test-epp-endpoint-selection': '127.0.75.2:8000,127.0.75.4,10.0.0.1' },
          }),
        )
        assert.equal([...named].sort().join(''), 'bd')
        assert.equal(
          set['x-conformance-test-served-endpoint'],
          named[0] === 'b' ? '127.0.75.2:8000' : '127.0.75.4:8000',
        )
        assert.equal(await fleet.refusal(fresh()), 429)
      },
    ],
  },
  'context-length-filter.yaml': {
    labels: labelled('tokens', { a: '0-100', b: '0-1000', c: '101-1000', d: '1001-9000' }),
    promises: [ofLength(80, 'ab'), ofLength(500, 'bc'), ofLength(1500, 'd')],
  },
  'context-length.yaml': {
    labels: labelled('llm-d.ai/context-length-range', {
      ...{ a: '0-100', b: '0-1000', c: '0-9000', d: '1001-9000' },
    }),
    promises: [ofLength(10, 'a'), ofLength(500, 'b'), ofLength(1500, 'd')],
  },
  'cost-with-events.yaml': {
    ...{ ...dialled, blockTokens: 16 },
    promises: [remembers('tracked'), spreads()],
  },
  'custom-metric.yaml': {
    metrics: (name, page) =>
      page + gauge(name, { a: 0.2, b: 0.4, c: 0.9, d: 0.4 }, 'vllm:gpu_prefix_cache_hit_rate'),
    promises: [
      only('c'),
      async (fleet) => {
        await fleet.burden('c', 'memory', tokens)
        await only('c')(fleet)
        await fleet.relieve()
      },
    ],
  },
  'default.yaml': { promises: [remembers('routed'), ...loads()] },
  'guide-flow-control.yaml': { promises: [remembers('routed'), ...loads()] },
  'guide-optimized-baseline.yaml': { promises: [rotates, remembers('routed'), ...loads()] },
  'guide-payload-agnostic.yaml': {
    promises: [keepsToken('x-session-token'), avoids('queue'), avoids('running')],
  },
  'guide-pd-disaggregation.yaml': {
    promises: [only('bc'), remembers('routed'), spreads('bc')],
  },
  'guide-predicted-latency.yaml': { promises: [only('abcd'), remembers('routed')] },
  'guide-tiered-prefix-cache.yaml': { promises: [remembers('routed'), ...loads()] },
  'guide-wide-ep-lws-data-parallel.yaml': { promises: [spreads()] },
  'guide-wide-ep-lws.yaml': { promises: [only('bc')] },
  'inline.yaml': { ...connected, promises: [remembers('tracked'), ...loads()] },
  'labels.yaml': { promises: [only('ab'), avoids('queue', 'ab')] },
  'least-loaded.yaml': {
    promises: [
      avoids('queue'),
      avoids('running'),
      async (fleet) => assert.equal((await fleet.ask(fresh())).named.length, 2),
    ],
  },
  'lora-adapters.yaml': {
    promises: [
      async (fleet) => {
        await fleet.burden('c', 'adapter', tokens)
        await only('c', { model: ADAPTER })(fleet)
        await fleet.relieve()
      },
      remembers('routed'),
      ...loads(),
    ],
  },
  'new-prompts-apart.yaml': { promises: [rotates, remembers('routed')] },
  'no-profiles.yaml': { promises: [only('acd'), ...loads('acd')] },
  'other-engine.yaml': {
    metrics: (name) =>
      gauge(name, EMPTIEST_B, 'sglang:num_queue_reqs') +
      gauge(name, { a: 0, b: 0, c: 0, d: 0 }, 'sglang:num_running_reqs') +
      gauge(name, { a: 0.5, b: 0.5, c: 0.5, d: 0.5 }, 'sglang:token_usage'),
    promises: [only('b')],
  },
  'precise-index-limits.yaml': {
    ...{ ...connected, blockTokens: 16 },
    promises: [remembers('tracked'), avoids('queue')],
  },
  'same-zone.yaml': {
    labels: labelled('topology.kubernetes.io/zone', {
      a: 'east',
      b: 'west',
      c: 'west',
      d: 'north',
    }),
    promises: [
      only('bc', { headers: { 'x-zone': 'west' } }),
      only('d', { headers: { 'x-zone': 'north' } }),
      only('abcd'),
    ],
  },
  'session-id.yaml': {
    promises: [keepsId('x-session-id'), keepsId('x-agent-id'), avoids('queue')],
  },
  'session-token.yaml': { promises: [keepsToken('x-my-session'), avoids('queue')] },
  'smoke-decode-only.yaml': { promises: [only('bc'), spreads('bc')] },
  'smoke-epd.yaml': { promises: [only('bc'), avoids('queue', 'bc')] },
  'smoke-gpu-utilization.yaml': { promises: [avoids('queue')] },
  'smoke-pd-deprecated.yaml': { promises: [only('bc'), remembers('routed')] },
  'smoke-pd-topology.yaml': { promises: [only('bc'), avoids('running', 'bc')] },
  'smoke-pd.yaml': { promises: [only('bc'), remembers('routed'), avoids('queue', 'bc')] },
  'smoke-simple.yaml': { promises: [only('bc'), remembers('routed'), avoids('queue', 'bc')] },
  'stages-by-header.yaml': {
    promises: [
      only('bc'),
      only('d', { headers: { 'epp-profile': 'encode' } }),
      only('ac', { headers: { 'epp-profile': 'prefill' } }),
      avoids('running', 'bc'),
      async (fleet) => {
        assert.equal(await fleet.refusal(fresh({ headers: { 'epp-profile': 'none' } })), 400)
      },
    ],
  },
  'standalone-file.yaml': { ownDiscovery: true, promises: [only('abcd'), avoids('queue')] },
  'utilization-limits.yaml': { promises: [only('abcd'), avoids('queue')] },
  'weighted-random.yaml': {
    promises: [
      only('abcd'),
      async (fleet) => {
        await fleet.burden('b', 'memory', tokens)
        const engines = await enginesOf(fleet, 80)
        const count = (name: Name) => engines.filter((each) => each === name).length
        // b has at most 0.2 of 3.2 parts, the others 1 each: 5 of 80, and 25.
        assert.ok(count('b') < 15 && count('a') > 12, NAMES.map(count).join(' '))
        await fleet.relieve()
      },
    ],
  },
}

describe("the field's configurations, each through four simulated engines", function () {
  this.timeout(120_000)

  it('are all in the table', () => {
    const files = readdirSync(FOLDER).filter((file) => file.endsWith('.yaml'))
    assert.deepEqual(files.sort(), Object.keys(CASES).sort())
  })

  for (const [file, { promises, ...options }] of Object.entries(CASES)) {
    const configText = readFileSync(`${FOLDER}/${file}`, 'utf8')
    it(`${file}: ${configText.split('\n')[0]!.slice(2)}`, async () => {
      const fleet = await Fleet.start({ labels: LABELS, ...options, configText })
      try {
        for (const promised of promises) await promised(fleet)
      } finally {
        await fleet.stop()
      }
    })
  }
})
