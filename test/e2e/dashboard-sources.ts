import type { AdminSources, EndpointPage } from '../../src/admin/sources.ts'
import { seededRandom } from '../../src/framework/random.ts'
import { type Decision, DecisionLog } from '../../src/framework/routing/decision.ts'
import { explanationOf } from '../../src/framework/routing/explanation.ts'
import { PREFIX_FINDING, type PrefixFinding, type Random } from '../../src/framework/services.ts'
import { endpoint, request } from '../../src/framework/testing.ts'
import { RoutingHistory } from '../../src/telemetry/routing-history.ts'

const SCORERS = [
  ['precise-prefix-cache-scorer', 3],
  ['queue-scorer', 2],
  ['kv-cache-utilization-scorer', 2],
  ['active-request-scorer', 4],
] as const
/** What a stranger may call things. */
export const HOSTILE = '<img src=x onerror="document.title=1"><b>&amp;'

/** The state of a large pool that changes each time it is asked for; the same for the same seed. */
export function manyEndpoints(count: number, epochMs: () => number = Date.now): AdminSources {
  const random = seededRandom(count)
  const decisions = new DecisionLog(1000)
  const history = pastOf(epochMs, random)
  const address = (i: number) => `10.${1 + (i >> 8)}.0.${i & 255}:8000`
  const endpoints = (): EndpointPage[] =>
    Array.from({ length: count }, (_, i) => {
      const isBlind = i % 97 === 13
      const promptTokens = 10_000 + Math.floor(random.next() * 90_000)
      return {
        ...{ pool: undefined, name: `qwen-${i}`, namespace: 'default', address: address(i) },
        ...{ rank: 0, labels: { zone: `z${i % 3}` }, version: '0.32.0' },
        state: i % 131 === 7 ? 'no fresh metrics' : 'scraped',
        inFlight: Math.floor(random.next() * 24),
        inFlightTokens: Math.floor(random.next() * 40_000),
        waiting: Math.floor(random.next() ** 3 * 9),
        running: Math.floor(random.next() * 24),
        kvCacheUsage: random.next(),
        scrapeAgeMs: Math.floor(random.next() * 200),
        coverage: isBlind ? 'gap' : 'complete',
        index: isBlind ? 'routed' : 'tracked',
        blocks: Math.floor(random.next() * 30_000),
        lastEventAgeMs: Math.floor(random.next() * 4000),
        cache: {
          ...{ answers: 100, promptTokens },
          cachedTokens: Math.floor(promptTokens * random.next()),
        },
        ...(i === 42 && { ejected: { untilMs: 5000 } }),
      }
    })
  let made = 0
  const decide = () => {
    const shown = Array.from({ length: count }, (_, i) => address(i))
    const scorers = SCORERS.map(([name, weight]) => ({
      ...{ name, weight },
      scores: Float64Array.from(shown, () => random.next()),
    }))
    const totals = Float64Array.from(shown, (_, i) =>
      scorers.reduce((sum, { weight, scores }) => sum + weight * scores[i]!, 0),
    )
    const best = totals.indexOf(Math.max(...totals))
    const prompt = 200 + Math.floor(random.next() * 8000)
    decisions.add({
      ...{ requestId: `request-${made++}`, atMs: epochMs(), pool: undefined, generation: 3 },
      ...{ model: 'Qwen3-32B', targetModel: 'Qwen3-32B', modelRule: undefined },
      ...{ criticality: 'Standard', priority: 0, poolSize: count, candidates: count },
      profiles: [
        {
          ...{ profile: 'default', filters: [], endpoints: shown, scorers, totals, ties: 1 },
          ...{ picked: [shown[best]!], metricsAgeMs: new Float64Array(count).fill(40) },
        },
      ],
      ...{ primary: 'default', endpoints: [shown[best]!] },
      ...{ promptTokens: { count: prompt, exact: true }, predictedCachedTokens: prompt >> 1 },
      indexCoverage: { tracked: count, endpoints: count, source: 'tracked' },
      ...{ match: undefined, remark: undefined, phasesUs: { parse: 40, schedule: 90 } },
      ...{ status: 200, ended: 'completed', firstByteMs: 120, durationMs: 900 },
      usage: { promptTokens: prompt, completionTokens: 20, cachedTokens: prompt >> 1 },
    } satisfies Decision)
  }
  for (let i = 0; i < 60; i++) decide()
  return {
    version: '0.0.0',
    epochMs,
    metricsContentType: 'text/plain',
    metricsText: () => Promise.resolve(''),
    explanation: (decision) => explanationOf(decision, { nameOf: (hostPort) => hostPort }),
    explain: () => Promise.reject(new Error('nobody asks')),
    maxBodyBytes: 1024,
    ready: () => [
      { name: 'configuration', ok: true, detail: 'from profile.yaml' },
      { name: 'endpoints', ok: true, detail: 'the first set of endpoints is known' },
    ],
    notices: () => [
      {
        key: 'kv-events-gap',
        text: 'events of 4 endpoints have a gap: what they hold is not known; a replay was asked for',
        sinceEpochMs: epochMs() - 90_000,
      },
      {
        key: 'metrics-stale',
        text: '3 endpoints (10.1.0.7:8000, 10.1.0.138:8000, 10.2.0.13:8000) have not been scraped for 2 s: load scorers rate them as full',
        sinceEpochMs: epochMs() - 4000,
      },
    ],
    endpoints: () => {
      for (let i = 0; i < 7; i++) decide()
      return endpoints()
    },
    configurations: () => [
      {
        ...{ pool: undefined, generation: 3, source: 'profile.yaml', lastReload: undefined },
        ...{ warnings: [], needsRestart: [], text: 'schedulingProfiles: []\n' },
      },
    ],
    decisions,
    history,
  }
}

/** Ten minutes of traffic whose hit rate rises, with a burst. */
function pastOf(epochMs: () => number, random: Random): RoutingHistory {
  let shiftMs = -600_000
  const history = new RoutingHistory({
    nowMs: () => performance.now(),
    epochMs: () => epochMs() + shiftMs,
  })
  const endpoints = Array.from({ length: 20 }, (_, i) => endpoint({ address: `10.1.0.${i}` }))
  for (; shiftMs < 0; shiftMs += 1000) {
    const progress = 1 + shiftMs / 600_000
    const requests = Math.floor((shiftMs > -200_000 ? 40 : 22) * (0.8 + 0.4 * random.next()))
    for (let i = 0; i < requests; i++) {
      const target = endpoints[Math.floor(random.next() * endpoints.length)]!
      const asked = request()
      const blocks = Math.floor(240 * Math.min(1, 0.2 + progress) * random.next())
      asked.attributes.set(PREFIX_FINDING, {
        endpoints: [target, endpoints[0]!],
        match: {
          blocks: Int32Array.of(blocks, Math.floor(blocks * 1.2)),
          weighted: Float64Array.of(blocks, blocks),
          blockTokens: Int32Array.of(16, 16),
          usableBlocks: Int32Array.of(300, 300),
        },
        ...{ source: 'tracked', tracked: 2, told: [true, true] },
      } satisfies PrefixFinding)
      history.picked(asked, target)
      const cachedTokens = 16 * Math.max(0, blocks - Math.floor(random.next() * 12))
      history.ended(asked, target, {
        ...{ reason: 'completed', status: 200, responseBytes: 1, firstByteMs: 1, durationMs: 2 },
        usage: { promptTokens: 4800, completionTokens: 20, cachedTokens },
      })
    }
  }
  return history
}

/** One endpoint and one decision whose every name is an attack on the page. */
export function hostileNames(): AdminSources {
  const sources = manyEndpoints(1)
  const [endpoint] = sources.endpoints()
  const decisions = new DecisionLog(1)
  const [decision] = sources.decisions.list(1)
  decisions.add({ ...decision!, requestId: HOSTILE, model: HOSTILE, targetModel: HOSTILE })
  return {
    ...sources,
    decisions,
    endpoints: () => [
      { ...endpoint!, name: HOSTILE, version: HOSTILE, labels: { [HOSTILE]: HOSTILE } },
    ],
    notices: () => [{ key: HOSTILE, text: HOSTILE, sinceEpochMs: 0 }],
    ready: () => [{ name: HOSTILE, ok: false, detail: HOSTILE }],
  }
}
