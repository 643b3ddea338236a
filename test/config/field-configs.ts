import assert from 'node:assert/strict'
import type { Asked, Fleet, Given } from './fleet.ts'

/** Something that a configuration does. */
interface Shown {
  readonly what: string
  readonly endpoints: Readonly<Record<string, Given>>
  run(fleet: Fleet): Promise<void>
}

/** One file, every warning of it as `line:column  path: message`, and requests that show what it prefers. */
export interface FieldConfig {
  readonly file: string
  readonly warnings: readonly string[]
  readonly shows: readonly Shown[]
}

/** A request goes to one of these. */
function goes(
  what: string,
  endpoints: Readonly<Record<string, Given>>,
  asked: Asked,
  to: string,
): Shown {
  return {
    what,
    endpoints,
    run: async (fleet) => assert.equal((await fleet.ask(asked)).to, to),
  }
}

/** The same prompt goes to where it went before, though the other endpoint has become a little better. */
const REPEATED: Shown = {
  what: 'a prompt goes where it went before',
  endpoints: { a: {}, b: {} },
  async run(fleet) {
    const asked: Asked = { prompt: ['p', 12] }
    const { to: first } = await fleet.sendOff(asked)
    const other = first === 'a' ? 'b' : 'a'
    fleet.become({ [first]: { kvCacheUsage: 0.3 }, [other]: { kvCacheUsage: 0.2 } })
    for (let i = 0; i < 5; i++) assert.equal((await fleet.sendOff(asked)).to, first)
    assert.equal((await fleet.sendOff({ prompt: ['q', 12] })).to, other)
  },
}
const ROLES = {
  a: { labels: { 'llm-d.ai/role': 'prefill' } },
  b: { labels: { 'llm-d.ai/role': 'decode' }, waiting: 5, running: 5, kvCacheUsage: 0.9 },
  c: { labels: { 'llm-d.ai/role': 'encode' } },
}
const DECODES = goes('only endpoints that decode are asked', ROLES, {}, 'b')

/** What an engine's events tell outweighs a little load, and a text that none holds goes elsewhere. */
const HELD: Shown = {
  what: 'a prompt goes where it is cached, as events tell',
  endpoints: {
    a: { holds: ['x', 4] },
    b: { holds: ['p', 8], kvCacheUsage: 0.2 },
    c: { holds: ['y', 1] },
  },
  async run(fleet) {
    assert.deepEqual(await fleet.spread(5, { prompt: ['p', 8] }), { b: 5 })
    assert.notEqual((await fleet.sendOff({ prompt: ['q', 8] })).to, 'b')
  },
}
const SHORTEST = goes(
  'the shortest queue is asked',
  { a: { waiting: 3 }, b: { waiting: 1 }, c: { waiting: 2 } },
  {},
  'b',
)
/** Requests that last are counted before any scrape has seen them. */
const SPREADS: Shown = {
  what: 'requests under way are spread',
  endpoints: { a: {}, b: {}, c: {} },
  async run(fleet) {
    const to = []
    for (const text of ['p', 'q', 'r']) to.push((await fleet.ask({ prompt: [text, 20] })).to)
    assert.deepEqual(to.toSorted(), ['a', 'b', 'c'])
  },
}
const IN_TURN: Shown = {
  what: 'new prompts go in turn',
  endpoints: { a: {}, b: {}, c: {} },
  async run(fleet) {
    const to = []
    for (const text of ['p', 'q', 'r', 's', 't', 'u']) {
      to.push((await fleet.sendOff({ prompt: [text, 4] })).to)
    }
    assert.deepEqual(to.slice(0, 3).toSorted(), ['a', 'b', 'c'])
    assert.deepEqual(to.slice(3), to.slice(0, 3))
  },
}
const IN_PROPORTION: Shown = {
  what: 'free KV memory of 9:1 gives requests of about 9:1',
  endpoints: { a: { kvCacheUsage: 0.1 }, b: { kvCacheUsage: 0.9 } },
  async run(fleet) {
    // Without a whole block nothing of a prompt is remembered.
    const { a = 0, b = 0 } = await fleet.spread(400, { prompt: ['z', 0] })
    assert.ok(a > 330 && a < 390 && a + b === 400, `${a} and ${b} of 400`)
  },
}
const RANGES = (label: string) => ({
  a: { labels: { [label]: '0-1000' } },
  b: { labels: { [label]: '1001-100000' } },
})

/** The header of a response, sent back, leads to the endpoint that answered, though it has become busy. */
function staysBySession(header: string): Shown {
  return {
    what: `the header ${header} of a response leads back`,
    endpoints: { a: {}, b: { waiting: 1 } },
    async run(fleet) {
      const { to, headers } = await fleet.sendOff()
      assert.equal(to, 'a')
      const token = headers?.get(header)
      assert.ok(token, `${header} is set on the response`)
      fleet.become({ a: { waiting: 1 }, b: {} })
      assert.deepEqual(await fleet.spread(5, { headers: { [header]: token } }), { a: 5 })
      assert.equal((await fleet.sendOff()).to, 'b')
    },
  }
}

/** Every file of test/fixtures/configs/. */
export const FIELD_CONFIGS: readonly FieldConfig[] = [
  {
    file: '2025-09-cache-tracking.yaml',
    warnings: [
      '8:13  plugins[1].parameters.mode: "prefix-cache-scorer" in this mode is read as "precise-prefix-cache-scorer"; write that',
    ],
    shows: [
      HELD,
      goes(
        'a full match outweighs a queue',
        { a: {}, b: { holds: ['p', 8], waiting: 3, kvCacheUsage: 0.9 } },
        { prompt: ['p', 8] },
        'b',
      ),
    ],
  },
  {
    file: '2026-01-precise-scorer.yaml',
    warnings: [
      '11:9  plugins[1].parameters.indexerConfig.tokenizersPoolConfig: "tokenizersPoolConfig" of llm-d is not available and has no effect: token ids come from folders under --tokenizers-dir, else from the engines',
      '17:9  plugins[1].parameters.kvEventsConfig.concurrency: "concurrency" of llm-d is not available and has no effect: one thread applies all events',
    ],
    shows: [
      HELD,
      goes(
        'a full match (3) outweighs a queue (2) and 40 % of the KV memory (0.8)',
        { a: {}, b: { holds: ['p', 8], waiting: 3, kvCacheUsage: 0.4 } },
        { prompt: ['p', 8] },
        'b',
      ),
      goes(
        'a full match (3) does not outweigh a queue (2) and 60 % of the KV memory (1.2)',
        { a: {}, b: { holds: ['p', 8], waiting: 3, kvCacheUsage: 0.6 } },
        { prompt: ['p', 8] },
        'a',
      ),
    ],
  },
  {
    file: '2026-05-decode-filter.yaml',
    warnings: [
      '5:11  plugins[0].type: "tokenizer" is an old name; write "token-producer"',
      '8:7  plugins[0].parameters.udsTokenizerConfig: "udsTokenizerConfig" of llm-d is not available and has no effect: token ids come from folders under --tokenizers-dir, else from the engines',
    ],
    shows: [HELD, DECODES],
  },
  {
    file: '2026-06-active-active.yaml',
    warnings: ['5:11  plugins[0].type: "tokenizer" is an old name; write "token-producer"'],
    shows: [HELD, DECODES],
  },
  {
    file: '2026-10-precise-producer.yaml',
    warnings: [
      '23:9  plugins[2].parameters.kvEventsConfig.concurrency: "concurrency" of llm-d is not available and has no effect: one thread applies all events',
    ],
    shows: [HELD],
  },
  {
    file: '2026-11-precise-routing.yaml',
    warnings: [
      '21:9  plugins[2].parameters.kvEventsConfig.concurrency: "concurrency" of llm-d is not available and has no effect: one thread applies all events',
    ],
    shows: [
      HELD,
      {
        what: 'of those that hold the prompt, the one with fewer tokens in flight is asked',
        endpoints: { a: {}, b: { holds: ['p', 8] }, c: { holds: ['p', 8] } },
        async run(fleet) {
          const { to: first } = await fleet.ask({ prompt: ['p', 8] })
          assert.match(first, /^[bc]$/)
          assert.equal((await fleet.ask({ prompt: ['p', 8] })).to, first === 'b' ? 'c' : 'b')
        },
      },
    ],
  },
  {
    file: 'ack-precise.yaml',
    warnings: [],
    shows: [HELD],
  },
  {
    file: 'conformance.yaml',
    warnings: [
      '11:5  schedulingProfiles[0]: no scorer: every endpoint scores the same, load is not looked at',
    ],
    shows: [
      goes(
        'the endpoint that the header names is picked',
        { a: {}, b: {}, c: {} },
        { headers: { 'test-epp-endpoint-selection': '127.0.1.3' } },
        'c',
      ),
      {
        what: 'nothing is picked without the header',
        endpoints: { a: {} },
        run: (fleet) => assert.rejects(fleet.ask(), { code: 'NO_ENDPOINTS' }),
      },
      {
        what: 'the response shows that the gateway does not say who served',
        endpoints: { a: {} },
        async run(fleet) {
          const headers = { 'test-epp-endpoint-selection': '127.0.1.1' }
          const { headers: shown } = await fleet.sendOff({ headers })
          assert.match(shown?.get('x-conformance-test-served-endpoint') ?? '', /^fail: /)
        },
      },
    ],
  },
  {
    file: 'context-length-filter.yaml',
    warnings: [],
    shows: [
      goes(
        'a short prompt goes to the range of short ones',
        RANGES('tokens'),
        { prompt: ['p', 4] },
        'a',
      ),
      goes(
        'a long prompt goes to the range of long ones',
        RANGES('tokens'),
        { prompt: ['p', 40] },
        'b',
      ),
    ],
  },
  {
    file: 'context-length.yaml',
    warnings: [],
    shows: [
      goes(
        'the narrower range is preferred',
        {
          a: { labels: { 'llm-d.ai/context-length-range': '0-100000' } },
          b: { labels: { 'llm-d.ai/context-length-range': '0-1000' }, kvCacheUsage: 0.3 },
        },
        { prompt: ['p', 4] },
        'b',
      ),
      goes(
        'an endpoint outside of the range is left out, however free it is',
        {
          a: { labels: { 'llm-d.ai/context-length-range': '0-100000' }, kvCacheUsage: 0.99 },
          b: { labels: { 'llm-d.ai/context-length-range': '0-1000' } },
        },
        { prompt: ['p', 40] },
        'a',
      ),
    ],
  },
  {
    file: 'cost-with-events.yaml',
    warnings: [
      '10:9  plugins[0].parameters.tokenProcessorConfig.hashAlgorithm: "hashAlgorithm" of llm-d is not available and has no effect: blocks are known by hashes of their own over the token ids, whatever the engines use',
    ],
    shows: [HELD, SPREADS],
  },
  {
    file: 'custom-metric.yaml',
    warnings: [],
    shows: [
      goes(
        'a high rate of hits is preferred, save where the KV memory is full',
        {
          a: { kvCacheUsage: 0.96, custom: { CacheHitRate: 0.9 } },
          b: { kvCacheUsage: 0.94, custom: { CacheHitRate: 0.5 } },
          c: { custom: { CacheHitRate: 0.2 } },
        },
        {},
        'b',
      ),
      goes(
        'all are kept where all are full',
        {
          a: { kvCacheUsage: 0.96, custom: { CacheHitRate: 0.9 } },
          b: { kvCacheUsage: 0.97, custom: { CacheHitRate: 0.5 } },
        },
        {},
        'a',
      ),
    ],
  },
  {
    file: 'default.yaml',
    warnings: [],
    shows: [REPEATED, SHORTEST],
  },
  {
    file: 'guide-flow-control.yaml',
    warnings: [
      '5:5  featureGates[0]: the feature gate "flowControl" of llm-d has no effect: requests are not queued here',
      '10:11  plugins[3].type: "round-robin-fairness-policy" of llm-d is not available and has no effect: requests are not queued here',
      '11:11  plugins[4].type: "utilization-detector" of llm-d is not available and has no effect: requests are not queued here',
      '15:1  flowControl: "flowControl" of llm-d has no effect: requests are not queued here',
    ],
    shows: [REPEATED, SHORTEST],
  },
  {
    file: 'guide-optimized-baseline.yaml',
    warnings: [],
    shows: [REPEATED, SHORTEST, IN_TURN],
  },
  {
    file: 'guide-payload-agnostic.yaml',
    warnings: [
      '5:11  plugins[0].type: "passthrough-parser" of llm-d is not available and has no effect: the OpenAI paths are read without it, other bodies pass through as they are',
    ],
    shows: [staysBySession('x-session-token'), SHORTEST],
  },
  {
    file: 'guide-pd-disaggregation.yaml',
    warnings: [
      '7:11  plugins[0].type: "always-disagg-pd-decider" of llm-d is not available and has no effect: an endpoint does all stages of a request',
      '8:11  plugins[1].type: "disagg-profile-handler" of llm-d is not available and has no effect: every request runs the profile "decode" alone, and an endpoint does all stages of a request',
    ],
    shows: [DECODES, REPEATED],
  },
  {
    file: 'guide-predicted-latency.yaml',
    warnings: [
      '5:11  plugins[0].type: "predicted-latency-producer" of llm-d is not available and has no effect: latency is not predicted',
      '9:11  plugins[2].type: "slo-headroom-tier-filter" of llm-d is not available and has no effect: it keeps all endpoints where no latency is predicted',
      '12:11  plugins[3].type: "latency-scorer" of llm-d is not available and has no effect: latency is not predicted',
      '15:11  plugins[4].type: "latency-slo-admitter" of llm-d is not available and has no effect: latency is not predicted',
    ],
    shows: [
      {
        what: 'a prompt stays where it went before, as long as requests for it are few',
        endpoints: { a: {}, b: {}, c: {} },
        async run(fleet) {
          const asked: Asked = { prompt: ['p', 12] }
          const { to } = await fleet.sendOff(asked)
          assert.deepEqual(await fleet.spread(30, asked), { [to]: 30 })
        },
      },
      IN_PROPORTION,
    ],
  },
  {
    file: 'guide-tiered-prefix-cache.yaml',
    warnings: [
      '12:5  plugins[2]: "gpu-prefix-cache-producer" has no effect: there is one index for all, and "cpu-prefix-cache-producer" (line 6) describes it',
      '33:9  schedulingProfiles[0].plugins[3]: "cpu-prefix-cache-scorer" scores as "gpu-prefix-cache-scorer" does; keep one of them, with weight 2',
    ],
    shows: [REPEATED, SHORTEST],
  },
  {
    file: 'guide-wide-ep-lws-data-parallel.yaml',
    warnings: [
      '5:11  plugins[0].type: "data-parallel-profile-handler" of llm-d is not available and has no effect: each rank of a server is an endpoint of its own',
    ],
    shows: [SPREADS],
  },
  {
    file: 'guide-wide-ep-lws.yaml',
    warnings: [
      '5:11  plugins[0].type: "always-disagg-pd-decider" of llm-d is not available and has no effect: an endpoint does all stages of a request',
      '6:11  plugins[1].type: "disagg-profile-handler" of llm-d is not available and has no effect: every request runs the profile "decode" alone, and an endpoint does all stages of a request',
    ],
    shows: [
      {
        what: 'all that decode are asked, and no others',
        endpoints: { ...ROLES, d: { labels: { 'llm-d.ai/role': 'decode' } } },
        async run(fleet) {
          const counts = await fleet.spread(100)
          assert.deepEqual(Object.keys(counts).sort(), ['b', 'd'])
          assert.ok(counts.b! > 25 && counts.b! < 75, `${counts.b} of 100`)
        },
      },
    ],
  },
  {
    file: 'inline.json',
    warnings: [
      '5:82  schedulingProfiles[0].plugins[1]: "random-picker" picks without regard to scores, so that "queue-scorer" cannot influence; use max-score-picker or weighted-random-picker',
    ],
    shows: [
      {
        what: 'all are asked, however long their queues are',
        endpoints: { a: {}, b: { waiting: 50 } },
        async run(fleet) {
          const { a = 0, b = 0 } = await fleet.spread(100)
          assert.ok(a > 25 && b > 25, `${a} and ${b} of 100`)
        },
      },
    ],
  },
  {
    file: 'inline.yaml',
    warnings: [],
    shows: [HELD, SHORTEST],
  },
  {
    file: 'labels.yaml',
    warnings: [
      '5:11  plugins[0].type: "by-label" is an old name; write "label-selector-filter" with matchExpressions: [{ key: tier, operator: In, values: ["gold","silver"] }]',
      '16:11  plugins[2].type: "by-label-selector" is an old name; write "label-selector-filter"',
    ],
    shows: [
      goes(
        'tiers, accelerators and tests decide before queues do',
        {
          a: { labels: { tier: 'tin', accelerator: 'h100' } },
          b: { labels: { tier: 'gold', accelerator: 'a100' } },
          c: { labels: { tier: 'gold', accelerator: 'h100', experimental: 'yes' } },
          d: { labels: { tier: 'silver' }, waiting: 8 },
          e: { labels: { tier: 'gold', accelerator: 'h100' }, waiting: 9 },
        },
        {},
        'd',
      ),
    ],
  },
  {
    file: 'least-loaded.yaml',
    warnings: [],
    shows: [
      goes(
        'the two shortest queues are named, the shorter first',
        { a: { waiting: 9 }, b: { waiting: 4 }, c: {} },
        {},
        'cb',
      ),
      goes(
        'of equal queues the one with fewer running requests is asked',
        { a: { running: 3 }, b: { running: 2 } },
        {},
        'ba',
      ),
    ],
  },
  {
    file: 'lora-adapters.yaml',
    warnings: [
      '4:1  parser: "parser" is an old name; write requestHandler.parsers',
      '8:11  plugins[1].type: "queue-depth-scorer" is an old name; write "queue-scorer"',
      '10:11  plugins[2].type: "kv-cache-scorer" is an old name; write "kv-cache-utilization-scorer"',
    ],
    shows: [
      goes(
        'the adapter outweighs a queue',
        {
          a: { adapters: { running: ['x', 'y'], waiting: [], max: 2 } },
          b: { adapters: { running: ['tuned'], waiting: [], max: 2 }, waiting: 3 },
        },
        { model: 'tuned' },
        'b',
      ),
      REPEATED,
    ],
  },
  {
    file: 'new-prompts-apart.yaml',
    warnings: [
      '8:7  plugins[0].parameters.blockSize: "blockSize" is an old name; write blockSizeTokens: 16',
      '9:7  plugins[0].parameters.maxPrefixBlocksToMatch: "maxPrefixBlocksToMatch" is an old name; write maxPrefixTokensToMatch: 16384',
    ],
    shows: [
      {
        what: 'a prompt goes where it went before, new ones go in turn',
        endpoints: { a: {}, b: {}, c: {} },
        async run(fleet) {
          const texts = ['p', 'q', 'r']
          const first: string[] = []
          for (const text of texts) first.push((await fleet.sendOff({ prompt: [text, 8] })).to)
          assert.deepEqual(first.toSorted(), ['a', 'b', 'c'])
          for (const [i, text] of texts.entries()) {
            assert.deepEqual(await fleet.spread(5, { prompt: [text, 8] }), { [first[i]!]: 5 })
          }
        },
      },
    ],
  },
  {
    file: 'no-profiles.yaml',
    warnings: [],
    shows: [
      goes(
        'an endpoint without a GPU is left out, of the others the shortest queue is asked',
        {
          a: {},
          b: { labels: { accelerator: 'h100' }, waiting: 5 },
          c: { labels: { accelerator: 'a100' }, waiting: 4 },
        },
        {},
        'c',
      ),
    ],
  },
  {
    file: 'other-engine.yaml',
    warnings: [],
    shows: [SHORTEST],
  },
  {
    file: 'precise-index-limits.yaml',
    warnings: [
      '9:9  plugins[0].parameters.tokenProcessorConfig.hashAlgorithm: "hashAlgorithm" of llm-d is not available and has no effect: blocks are known by hashes of their own over the token ids, whatever the engines use',
      '21:9  plugins[0].parameters.kvEventsConfig.topicFilter: "topicFilter" of llm-d is not available and has no effect: every topic of the form kv@ADDRESS@MODEL is taken',
    ],
    shows: [
      HELD,
      goes(
        'blocks in GPU memory are worth twice those in CPU memory',
        { a: { holds: ['p', 8, 'CPU'] }, b: { holds: ['p', 8], waiting: 3 } },
        { prompt: ['p', 8] },
        'b',
      ),
      goes(
        'and those in CPU memory more than a queue',
        { a: { holds: ['p', 8, 'CPU'], waiting: 3 }, b: { holds: ['q', 8] } },
        { prompt: ['p', 8] },
        'a',
      ),
    ],
  },
  {
    file: 'same-zone.yaml',
    warnings: [],
    shows: [
      {
        what: 'the zone decides, and then requests in flight',
        endpoints: {
          a: { labels: { 'topology.kubernetes.io/zone': 'west' } },
          b: { labels: { 'topology.kubernetes.io/zone': 'east' } },
          c: { labels: { 'topology.kubernetes.io/zone': 'east' } },
        },
        async run(fleet) {
          const to = []
          for (let i = 0; i < 8; i++)
            to.push((await fleet.ask({ headers: { 'x-zone': 'east' } })).to)
          assert.equal(to.toSorted().join(''), 'bbbbcccc')
          assert.equal((await fleet.ask({ headers: { 'x-zone': 'west' } })).to, 'a')
          assert.equal((await fleet.ask()).to, 'a')
        },
      },
    ],
  },
  {
    file: 'session-id.yaml',
    warnings: [],
    shows: [
      {
        what: 'a session stays where it began, by either header',
        endpoints: { a: { waiting: 1 }, b: {} },
        async run(fleet) {
          for (const header of ['x-session-id', 'x-agent-id']) {
            const asked: Asked = { headers: { [header]: `one by ${header}` } }
            fleet.become({ a: { waiting: 1 }, b: {} })
            assert.equal((await fleet.sendOff(asked)).to, 'b')
            fleet.become({ a: {}, b: { waiting: 9 } })
            assert.deepEqual(await fleet.spread(5, asked), { b: 5 })
            assert.equal((await fleet.sendOff({ headers: { [header]: 'another' } })).to, 'a')
          }
        },
      },
    ],
  },
  {
    file: 'session-token.yaml',
    warnings: [
      '7:7  plugins[0].parameters.headerName: "headerName" is an old name; write encodedEndpointHeaderConfig.header: "x-my-session"',
    ],
    shows: [staysBySession('x-my-session'), SHORTEST],
  },
  {
    file: 'smoke-decode-only.yaml',
    warnings: [
      '8:7  plugins[1].parameters.requestTimeout: "requestTimeout" of llm-d is not available and has no effect: a request counts until it ends',
    ],
    shows: [
      DECODES,
      {
        what: 'of those that decode the one with fewer requests in flight is asked',
        endpoints: { ...ROLES, d: { labels: { 'llm-d.ai/role': 'both' } } },
        async run(fleet) {
          const { to } = await fleet.ask()
          assert.equal((await fleet.ask()).to, to === 'b' ? 'd' : 'b')
        },
      },
    ],
  },
  {
    file: 'smoke-epd.yaml',
    warnings: [
      '5:11  plugins[0].type: "disagg-profile-handler" of llm-d is not available and has no effect: every request runs the profile "decode" alone, and an endpoint does all stages of a request',
      '10:11  plugins[1].type: "always-disagg-pd-decider" of llm-d is not available and has no effect: an endpoint does all stages of a request',
      '11:11  plugins[2].type: "always-disagg-multimodal-decider" of llm-d is not available and has no effect: an endpoint does all stages of a request',
      '12:11  plugins[3].type: "mm-embeddings-cache-producer" of llm-d is not available and has no effect',
      '15:11  plugins[4].type: "mm-embeddings-cache-scorer" of llm-d is not available and has no effect',
    ],
    shows: [DECODES, SHORTEST],
  },
  {
    file: 'smoke-gpu-utilization.yaml',
    warnings: [
      '5:11  plugins[0].type: "dcgm-data-source" of llm-d is not available and has no effect',
      '6:11  plugins[1].type: "dcgm-extractor" of llm-d is not available and has no effect',
      '10:21  plugins[2].parameters.attributeKey: no metric is read as "GPUUtilization", so that every endpoint scores 0; add it to customMetrics of core-metrics-extractor',
      '11:17  plugins[2].parameters.producer: attributes of "dcgm-extractor" are not available; those of core-metrics-extractor are',
    ],
    shows: [SHORTEST],
  },
  {
    file: 'smoke-pd-deprecated.yaml',
    warnings: [
      '5:11  plugins[0].type: "prefill-header-handler" of llm-d is not available and has no effect: an endpoint does all stages of a request',
      '12:11  plugins[5].type: "prefix-based-pd-decider" of llm-d is not available and has no effect: an endpoint does all stages of a request',
      '15:11  plugins[6].type: "pd-profile-handler" of llm-d is not available and has no effect: every request runs the profile "decode" alone, and an endpoint does all stages of a request',
    ],
    shows: [DECODES, REPEATED],
  },
  {
    file: 'smoke-pd-topology.yaml',
    warnings: [
      '5:11  plugins[0].type: "disagg-profile-handler" of llm-d is not available and has no effect: every request runs the profile "decode" alone, and an endpoint does all stages of a request',
      '8:11  plugins[1].type: "k8s-notification-source" of llm-d is not available and has no effect',
      '10:11  plugins[2].type: "topology-extractor" of llm-d is not available and has no effect',
      '11:11  plugins[3].type: "topology-affinity-filter" of llm-d is not available and has no effect: it keeps all endpoints where their topology is not known',
      '14:11  plugins[4].type: "topology-affinity-scorer" of llm-d is not available and has no effect',
    ],
    shows: [
      DECODES,
      goes('few running requests are preferred', { a: { running: 4 }, b: { running: 3 } }, {}, 'b'),
    ],
  },
  {
    file: 'smoke-pd.yaml',
    warnings: [
      '5:11  plugins[0].type: "disagg-profile-handler" of llm-d is not available and has no effect: every request runs the profile "decode" alone, and an endpoint does all stages of a request',
      '12:11  plugins[1].type: "prefix-based-pd-decider" of llm-d is not available and has no effect: an endpoint does all stages of a request',
    ],
    shows: [DECODES, REPEATED, SHORTEST],
  },
  {
    file: 'smoke-simple.yaml',
    warnings: [
      '7:7  plugins[0].parameters.blockSize: "blockSize" is an old name; write blockSizeTokens: 16',
      '8:7  plugins[0].parameters.maxPrefixBlocksToMatch: "maxPrefixBlocksToMatch" is an old name; write maxPrefixTokensToMatch: 4096',
    ],
    shows: [DECODES, REPEATED, SHORTEST],
  },
  {
    file: 'stages-by-header.yaml',
    warnings: [],
    shows: [
      {
        what: 'the header names the stage, decode where it is not there',
        endpoints: ROLES,
        async run(fleet) {
          const to = async (stage: string) =>
            (await fleet.ask({ headers: { 'epp-profile': stage } })).to
          assert.deepEqual(
            [await to('prefill'), await to('decode'), await to('encode')],
            ['a', 'b', 'c'],
          )
          assert.equal((await fleet.ask()).to, 'b')
          await assert.rejects(to('nonsense'), { code: 'BAD_REQUEST' })
        },
      },
      goes('few running requests are preferred', { a: { running: 4 }, b: { running: 3 } }, {}, 'b'),
    ],
  },
  {
    file: 'standalone-file.yaml',
    warnings: [],
    shows: [SHORTEST],
  },
  {
    file: 'utilization-limits.yaml',
    warnings: [
      '5:11  plugins[0].type: "active-request-filter" is an old name; write "utilization-filter"',
    ],
    shows: [
      {
        what: 'all within the limits are asked, and no others',
        endpoints: {
          a: { waiting: 9 },
          b: { kvCacheUsage: 0.91 },
          c: { waiting: 8 },
          d: { kvCacheUsage: 0.9 },
        },
        async run(fleet) {
          assert.deepEqual(Object.keys(await fleet.spread(50)).sort(), ['c', 'd'])
          fleet.become({
            a: { waiting: 9 },
            b: { waiting: 10 },
            c: { waiting: 11 },
            d: { waiting: 12 },
          })
          assert.deepEqual(Object.keys(await fleet.spread(50)).sort(), ['a', 'b', 'c', 'd'])
        },
      },
    ],
  },
  {
    file: 'weighted-random.yaml',
    warnings: [],
    shows: [IN_PROPORTION],
  },
]
