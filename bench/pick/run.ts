// What the prefix and cost scorers take of one pick: scoring, the reservation of load, and what the indexes learn of it;
// what it takes to count whether scorers matter; and what the index of past picks takes of a block that it records.
//
//   npm run bench -- pick [--picks 1500]
//
// Prompts of 500 and 8,000 tokens, the first half of which all requests share; 50 requests are in flight. The tables go to
// stdout.
import { parseArgs } from 'node:util'
import { seededRandom } from '../../src/framework/random.ts'
import { InFlightLedger, type Reservation } from '../../src/framework/routing/in-flight.ts'
import { Influence } from '../../src/framework/routing/influence.ts'
import { loadOf } from '../../src/framework/routing/request-load.ts'
import { paramsOf, request } from '../../src/framework/testing.ts'
import { ChainHasher } from '../../src/kvcache/hashing/chain-hash.ts'
import { RequestKeys } from '../../src/kvcache/hashing/request-keys.ts'
import { KvPrefixMatcher } from '../../src/kvcache/prefix-matcher.ts'
import { KvRoutedPrefixIndex } from '../../src/kvcache/routed-prefix-index.ts'
import { costScorer } from '../../src/plugins/scorers/cost-scorer.ts'
import { precisePrefixCacheScorer } from '../../src/plugins/scorers/precise-prefix-cache-scorer.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices } from '../../src/telemetry/notices.ts'
import { createKvCache } from '../../test/kvcache/fakes.ts'
import { type Figure, report } from '../figures.ts'

const { values } = parseArgs({ options: { picks: { type: 'string', default: '1500' } } })
const picks = Number(values.picks)
const IN_FLIGHT = 50
const MEMORY_BYTES = 256 * 1024 * 1024
const METRICS = {
  waiting: 0,
  running: 0,
  kvCacheUsage: 0.3,
  blockTokens: 64,
  kvBlocks: 4802,
  hashAlgorithm: undefined,
  adapters: undefined,
  custom: new Map<string, number>(),
  scrapedAtMs: 1,
}

/** Microseconds per pick of both scorers, each warmed up before. */
function measure(endpointCount: number, promptTokens: number): readonly [string, number][] {
  const { cache, endpoints, clock } = createKvCache(undefined, MEMORY_BYTES)
  const all = Array.from({ length: endpointCount }, (_, i) =>
    endpoints.add({ address: `10.0.${i >> 8}.${i & 255}`, metrics: METRICS }),
  )
  const keys = new RequestKeys(new ChainHasher())
  const routed = new KvRoutedPrefixIndex({ endpoints, maxMemoryBytes: MEMORY_BYTES, keys })
  const matcher = new KvPrefixMatcher(cache.index, routed)
  const inFlight = new InFlightLedger()
  const scorers = {
    'precise-prefix-cache-scorer': precisePrefixCacheScorer.create(
      paramsOf(precisePrefixCacheScorer),
      { index: cache.index, matcher },
    ),
    'cost-scorer': costScorer.create(paramsOf(costScorer), {
      inFlight,
      matcher,
      ghost: routed.ghost,
    }),
  }
  let made = 0
  const run = (scorer: (typeof scorers)[keyof typeof scorers]) => {
    const held: Reservation[] = []
    let spentMs = 0
    for (let i = 0; i < picks; i++) {
      const own = ++made * 100_000
      const tokens = Array.from({ length: promptTokens }, (_, k) =>
        k < promptTokens / 2 ? k : own + k,
      )
      const asked = request({ prompt: { kind: 'text', texts: ['p'] }, tokens })
      const startMs = performance.now()
      const scores = scorer.score(asked, all)
      let best = 0
      for (let e = 1; e < all.length; e++) if (scores[e]! > scores[best]!) best = e
      const target = all[best]!
      held.push(inFlight.reserve(target, loadOf(asked, target, inFlight.meanOutputTokens)))
      scorer.picked?.(asked, target, undefined as never)
      matcher.picked(asked, target)
      spentMs += performance.now() - startMs
      matcher.responded(asked)
      clock.ms += 100
      if (held.length > IN_FLIGHT) held.shift()!.release()
    }
    for (const reservation of held) reservation.release()
    return (spentMs / picks) * 1000
  }
  const results = Object.entries(scorers).map(([name, scorer]): [string, number] => {
    run(scorer)
    return [name, run(scorer)]
  })
  cache.close()
  return results
}

const SCORERS = 4
const ROUNDS = 200_000

/** Microseconds per request of counting the influence of four scorers. */
function measureInfluence(endpointCount: number): number {
  const random = seededRandom(1)
  const metrics = new PrometheusMetrics()
  const notices = createNotices(Date.now)
  const scorers = Array.from({ length: SCORERS }, (_, i) => {
    const of = { profile: 'p', scorer: `s${i}`, weight: i + 1, differsWhen: undefined }
    const scores = Float64Array.from({ length: endpointCount }, () => random.next())
    const trace = { name: of.scorer, weight: of.weight, scores }
    return { influence: new Influence(of, metrics, notices), trace }
  })
  const totals = new Float64Array(endpointCount)
  for (const { trace } of scorers) {
    for (let e = 0; e < endpointCount; e++) totals[e]! += trace.weight * trace.scores[e]!
  }
  const winner = totals.indexOf(totals.reduce((a, b) => Math.max(a, b)))
  const run = (rounds: number) => {
    const startMs = performance.now()
    for (let i = 0; i < rounds; i++) {
      for (const { influence, trace } of scorers) influence.count(trace, totals, winner)
    }
    return ((performance.now() - startMs) / rounds) * 1000
  }
  run(ROUNDS / 10)
  return run(ROUNDS)
}

const PROMPT_BLOCKS = 1560
const RECORDED = 64

/** Nanoseconds of CPU per block of a prompt that is recorded on one of 8 endpoints; medians over rounds. */
function measureRecording(knownShare: number): number {
  const { endpoints, cache } = createKvCache()
  const all = Array.from({ length: 8 }, () => endpoints.add({ metrics: METRICS }))
  const keys = new RequestKeys(new ChainHasher())
  const index = new KvRoutedPrefixIndex({ endpoints, maxMemoryBytes: MEMORY_BYTES, keys })
  const asked = request({})
  const common = Math.floor(PROMPT_BLOCKS * knownShare) * METRICS.blockTokens
  const rounds: number[] = []
  for (let round = 0; round < 30; round++) {
    const prompts = Array.from({ length: RECORDED }, (_, p) => {
      const own = (round * RECORDED + p + 1) * 1_000_003
      const length = PROMPT_BLOCKS * METRICS.blockTokens + 1
      const prompt = Int32Array.from({ length }, (_, i) => (i < common ? i : own + i))
      return { prompts: [prompt], exact: true }
    })
    for (const tokens of prompts) {
      void keys.ofModel(tokens, METRICS.blockTokens, asked.targetModel, asked.cacheSalt).pairs
    }
    const before = process.cpuUsage()
    for (const [p, tokens] of prompts.entries()) index.record(asked, tokens, all[p % all.length]!)
    const { user, system } = process.cpuUsage(before)
    rounds.push(((user + system) * 1000) / RECORDED / PROMPT_BLOCKS)
  }
  index.close()
  cache.close()
  return rounds.sort((a, b) => a - b)[rounds.length / 2]!
}

const figures: Figure[] = []
console.log('| scorer | endpoints | prompt tokens | µs per pick |')
console.log('|---|---|---|---|')
for (const endpoints of [8, 64, 256]) {
  for (const tokens of [500, 8000]) {
    for (const [name, us] of measure(endpoints, tokens)) {
      console.log(`| ${name} | ${endpoints} | ${tokens} | ${us.toFixed(0)} |`)
      figures.push({
        name: `${name}, ${endpoints} endpoints, ${tokens} tokens`,
        unit: 'us',
        value: us,
      })
    }
  }
}

console.log('\n| influence of 4 scorers, endpoints | µs per request |')
console.log('|---|---|')
for (const endpoints of [8, 64, 256]) {
  console.log(`| ${endpoints} | ${measureInfluence(endpoints).toFixed(2)} |`)
}

console.log('\n| recording a prompt of 400 KB, share of it known | ns per block |')
console.log('|---|---|')
for (const share of [0, 0.5, 1]) {
  const ns = measureRecording(share)
  console.log(`| ${share} | ${ns.toFixed(0)} |`)
  figures.push({ name: `recording, ${share} known, per block`, unit: 'ns', value: ns })
}
report('pick', figures)
