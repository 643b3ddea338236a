import assert from 'node:assert/strict'
import type { Endpoint } from '../../src/framework/endpoint.ts'
import { seededRandom } from '../../src/framework/random.ts'
import type { InferenceRequest } from '../../src/framework/request.ts'
import { InFlightLedger } from '../../src/framework/routing/in-flight.ts'
import { loadOf } from '../../src/framework/routing/request-load.ts'
import {
  COST_FINDING,
  PREFIX_FINDING,
  type RoutedPrefixIndex,
} from '../../src/framework/services.ts'
import {
  type EndpointInput,
  endpoint,
  paramsOf,
  type RequestInput,
  request,
} from '../../src/framework/testing.ts'
import { KvPrefixMatcher } from '../../src/kvcache/prefix-matcher.ts'
import { KvRoutedPrefixIndex } from '../../src/kvcache/routed-prefix-index.ts'
import { costScorer } from '../../src/plugins/scorers/cost-scorer.ts'
import { createKvCache } from '../kvcache/fakes.ts'
import { withBlocks, withTokens } from './known-load.ts'

const SCRAPED = { kvBlocks: 4802, blockTokens: 64, kvCacheUsage: 0, scrapedAtMs: 1 }

/** A prompt of that many tokens; equal chains begin alike. */
const prompt = (chain: number, tokens: number) =>
  Array.from({ length: tokens }, (_, i) => chain * 1_000_000 + i)

const asking = (input: RequestInput) =>
  request({ prompt: { kind: 'text', texts: ['p'] }, ...input })

/** The scorer with real counters and indexes, over endpoints that stay. */
function setUp(inputs: readonly EndpointInput[], params: Record<string, unknown> = {}) {
  const { cache, endpoints: known } = createKvCache()
  const endpoints = inputs.map((input, slot) => endpoint({ slot, ...input }))
  const fixed = {
    list: () => endpoints,
    listen(listener: { added?(endpoint: Endpoint, spec: never): void }) {
      for (const each of endpoints) listener.added?.(each, undefined as never)
      return () => {}
    },
  }
  assert.equal(known.list().length, 0)
  const routed = new KvRoutedPrefixIndex({ endpoints: fixed, maxMemoryBytes: 1 << 24 })
  const ghost = new KvRoutedPrefixIndex({ endpoints: fixed, maxMemoryBytes: 1 << 24 })
  const matcher = new KvPrefixMatcher(cache.index, routed)
  const inFlight = new InFlightLedger()
  const scorer = costScorer.create(paramsOf(costScorer, params), { inFlight, matcher, ghost })
  const pick = (asked: InferenceRequest, target?: Endpoint) => {
    const scores = Array.from(scorer.score(asked, endpoints))
    const at = target ? endpoints.indexOf(target) : scores.indexOf(Math.max(...scores))
    const picked = endpoints[at]!
    const reservation = inFlight.reserve(picked, loadOf(asked, picked, inFlight.meanOutputTokens))
    const terms = scorer.terms!()
    scorer.picked!(asked, picked, undefined as never)
    matcher.picked(asked, picked)
    return { scores, at, terms, reservation, report: scorer.report!(asked, endpoints) }
  }
  return { endpoints, scorer, inFlight, ghost, pick, close: () => cache.close() }
}

/** Services that know this load, and blocks of 16 tokens on each endpoint. */
function known({
  inFlight,
  blocks,
}: {
  readonly inFlight: InFlightLedger
  readonly blocks: readonly number[] | undefined
}) {
  const matcher = withBlocks(blocks, 1_000_000)
  const ghost: RoutedPrefixIndex = {
    match: (asked, _tokens, endpoints) =>
      matcher.find(asked, endpoints)?.match ?? {
        blocks: new Int32Array(endpoints.length),
        weighted: new Float64Array(endpoints.length),
        blockTokens: new Int32Array(endpoints.length),
        usableBlocks: new Int32Array(endpoints.length),
      },
    record() {},
    configure() {},
  }
  return { inFlight, matcher, ghost }
}

describe('cost-scorer', () => {
  const closing: (() => void)[] = []
  const start = (...args: Parameters<typeof setUp>) => {
    const made = setUp(...args)
    closing.push(made.close)
    return made
  }
  afterEach(() => {
    for (const close of closing.splice(0)) close()
  })

  it('spreads a herd of one tick, and keeps those with a common beginning together while that is cheaper', () => {
    const { endpoints, pick, inFlight } = start(
      Array.from({ length: 8 }, () => ({ metrics: SCRAPED })),
    )
    const shared = prompt(1, 6000)
    const homes = new Set<number>()
    for (let i = 0; i < 200; i++) {
      const isShared = i % 2 === 0
      const { at } = pick(asking({ tokens: isShared ? shared : prompt(i + 10, 6000) }))
      if (isShared) homes.add(at)
    }
    assert.ok(homes.size <= 4, `the common beginning is on ${homes.size} endpoints`)
    const queued = endpoints.map((each) => inFlight.queuedTokens(each))
    const total = queued.reduce((a, b) => a + b)
    assert.ok(total < 110 * 6000, `${total} tokens are computed`)
    const busiest = Math.max(...queued) / (total / endpoints.length)
    assert.ok(busiest < 1.3, `the busiest computes ${busiest} times the mean`)
  })

  it('counts a prompt that was sent and has not been computed as there', () => {
    const { pick } = start([{ metrics: SCRAPED }, { metrics: SCRAPED }])
    const tokens = prompt(1, 12_801)
    const first = pick(asking({ tokens }))
    const second = pick(asking({ tokens }))
    assert.equal(second.at, first.at)
    assert.ok(Math.abs(second.terms!.prefill![second.at]! - 1 / 15_928) < 1e-12)
    assert.ok(Math.abs(second.terms!.queue![second.at]! - 12_801 / 15_928) < 1e-12)
  })

  it('charges a copy for a prefix that the ghost index knows elsewhere, though no cache has it', () => {
    const { endpoints, scorer, ghost } = start([{ metrics: SCRAPED }, { metrics: SCRAPED }])
    const tokens = prompt(1, 6401)
    const past = asking({ tokens })
    ghost.record(past, { prompts: [Int32Array.from(tokens)], exact: true }, endpoints[1]!)
    scorer.score(asking({ tokens }), endpoints)
    const { copy, prefill } = scorer.terms!()!
    assert.deepEqual([...copy!], [6400 / 15_928, 0])
    assert.deepEqual([...prefill!], [6401 / 15_928, 6401 / 15_928])
  })

  it('expects no more answer than the client allows', () => {
    const { endpoints, scorer, inFlight } = start([{ metrics: SCRAPED }])
    assert.equal(inFlight.meanOutputTokens, 300)
    const decode = (maxOutputTokens?: number) => {
      scorer.score(
        asking({ tokens: prompt(1, 100), ...(maxOutputTokens && { maxOutputTokens }) }),
        endpoints,
      )
      return scorer.terms!()!.decode![0]!
    }
    assert.ok(Math.abs(decode() / decode(10) - 30) < 1e-9)
    assert.equal(decode(1000), decode())
  })

  it('gives finite scores in (0, 1] whatever is unknown', () => {
    const { endpoints, scorer } = start([
      {},
      { metrics: { kvCacheUsage: 1 } },
      { metrics: { ...SCRAPED, kvCacheUsage: 1 } },
      { metrics: { ...SCRAPED, kvBlocks: 0 } },
    ])
    for (const asked of [
      request(),
      asking({ tokens: [] }),
      asking({ tokens: prompt(1, 500_000) }),
      asking({ tokens: prompt(1, 10), maxOutputTokens: 0 }),
    ]) {
      for (const score of scorer.score(asked, endpoints) as Float64Array) {
        assert.ok(score > 0 && score <= 1, `score ${score}`)
      }
      for (const seconds of Object.values(scorer.terms!()!)) {
        assert.ok(seconds.every((each) => each >= 0 && Number.isFinite(each)))
      }
    }
  })

  it('scores every one of 2,000 random states in (0, 1], the best 1, whatever engines say', () => {
    const random = seededRandom(20_261_121)
    const oneOf = <T>(values: readonly T[]) => values[Math.floor(random.next() * values.length)]!
    const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1, 0]
    const params = paramsOf(costScorer)
    const prompts = [[], [1], prompt(1, 1000), prompt(2, 20_000)]
    let least = 1
    for (let state = 0; state < 2000; state++) {
      const metrics = () => ({
        kvCacheUsage: oneOf([...odd, random.next(), 1, 7]),
        kvBlocks: oneOf([...odd, undefined, 1, 4802]),
        blockTokens: oneOf([...odd, undefined, 16, 64]),
        waiting: oneOf([...odd, 30]),
        running: oneOf([...odd, 200]),
      })
      const scraped = random.next()
      const endpoints = Array.from({ length: oneOf([1, 1, 2, 3, 16]) }, (_, slot) =>
        endpoint({ slot, ...(random.next() < scraped && { metrics: metrics() }) }),
      )
      const services = known({
        inFlight: withTokens(
          endpoints,
          endpoints.map(() => oneOf([0, 1, 300_000])),
        ),
        blocks: oneOf([undefined, endpoints.map(() => oneOf([0, 3, 1_000_000]))]),
      })
      const scorer = costScorer.create(params, services)
      const asked = request({
        ...(random.next() < 0.8 && { tokens: oneOf(prompts) }),
        ...(random.next() < 0.5 && { maxOutputTokens: oneOf([0, 1, 1_000_000]) }),
      })
      const scores = Array.from(scorer.score(asked, endpoints))
      assert.equal(scores.length, endpoints.length)
      assert.ok(
        scores.every((score) => score > 0 && score <= 1) && Math.max(...scores) === 1,
        `state ${state}: ${scores}`,
      )
      least = Math.min(least, ...scores)
    }
    assert.ok(least < 0.1, `the states differ little: no score below ${least}`)
  })

  it('keeps the line that operators grep, and says what the pick cost', () => {
    const { endpoints, pick } = start([
      { address: '10.0.0.1', metrics: SCRAPED },
      { address: '10.0.0.2', metrics: SCRAPED },
    ])
    const tokens = prompt(1, 129)
    const first = pick(asking({ tokens }), endpoints[1])
    assert.equal(first.report!.message, 'Got pod scores')
    assert.equal(first.report!.fields.scores, null)
    const { report } = pick(asking({ tokens }))
    assert.deepEqual(report!.fields.scores, { '10.0.0.2': 2 })
    const cost = report!.fields.cost as Record<string, number | string>
    assert.equal(cost.endpoint, endpoints[1]!.hostPort)
    assert.equal(cost.runnerUp, endpoints[0]!.hostPort)
    const sum = ['queue', 'prefill', 'stall', 'decode', 'kv', 'rent', 'copy']
      .map((term) => cost[term] as number)
      .reduce((a, b) => a + b)
    assert.ok(Math.abs(sum - (cost.total as number)) < 1e-5, `${sum} and ${cost.total}`)
    assert.ok((cost.margin as number) > 0)
  })

  it('leaves what it expected with the request', () => {
    const { endpoints, pick } = start([{ metrics: SCRAPED }, { metrics: SCRAPED }])
    const tokens = prompt(1, 12_801)
    pick(asking({ tokens }), endpoints[0])
    const asked = asking({ tokens })
    pick(asked, endpoints[1])
    const finding = asked.attributes.get(COST_FINDING)!
    assert.equal(finding.endpoint, endpoints[1])
    assert.equal(finding.runnerUp!.endpoint, endpoints[0])
    assert.deepEqual(
      [finding.promptTokens, finding.matchedTokens, finding.knownTokens, finding.tokensBeforeFirst],
      [12_801, 0, 12_800, 12_801],
    )
    assert.ok(Math.abs(finding.firstTokenSeconds - (0.013 + 12_801 / 15_928)) < 1e-12)
    assert.equal(asked.attributes.get(PREFIX_FINDING)!.source, 'routed')
  })
})
