import assert from 'node:assert/strict'
import { TimeBudget } from '../../src/framework/time-budget.ts'
import { CountingMetrics, keepingLogger } from '../extproc/fakes.ts'
import { ProfileSetup } from './routing/profile-setup.ts'

const KEY = 'plugin-over-budget:scorer "slow"'
const SAID =
  'scorer "slow" took 7.5 ms on average over its last 100 calls, its budget is 5 ms; every request waits for it: make it faster, or raise timeBudgetMs'

describe('TimeBudget', () => {
  function setUp() {
    const setup = new ProfileSetup()
    const metrics = new CountingMetrics()
    const logger = keepingLogger()
    const budget = new TimeBudget(5, 'scorer "slow"', metrics.counter('over', ''), {
      logger,
      notices: setup.notices,
    })
    const spend = (ms: number, calls: number) => {
      for (let i = 0; i < calls; i++) budget.spent(ms)
    }
    return { spend, over: () => metrics.value('over'), logger, shown: () => setup.shown() }
  }

  it('counts each call over it', () => {
    const { spend, over } = setUp()
    spend(5, 10)
    spend(5.001, 3)
    assert.equal(over(), 3)
  })

  it('names a plugin whose last 100 calls took more on average, until they do not', () => {
    const { spend, shown, logger } = setUp()
    spend(10, 50)
    spend(5, 49)
    assert.deepEqual(shown(), {})
    spend(5, 1)
    assert.deepEqual(shown(), { [KEY]: SAID })
    assert.deepEqual(logger.lines, [`warn ${SAID}`])
    spend(20, 100)
    assert.match(shown()[KEY]!, /took 20 ms/)
    assert.equal(logger.lines.length, 1, 'it is logged once')
    spend(4, 100)
    assert.deepEqual(shown(), {})
  })

  it('lets single slow calls pass', () => {
    const { spend, shown, over } = setUp()
    for (let i = 0; i < 10; i++) {
      spend(400, 1)
      spend(0.1, 99)
    }
    assert.equal(over(), 10)
    assert.deepEqual(shown(), {})
  })
})

describe('PluginProbe with a budget', () => {
  const busy = (ms: number) => {
    const endMs = performance.now() + ms
    while (performance.now() < endMs);
  }
  const over = (setup: ProfileSetup, kind: string) =>
    setup.metrics.value(`epp_plugin_over_budget_total{kind=${kind},type=test,name=x}`)

  it('times calls, those that throw too', () => {
    const setup = new ProfileSetup()
    const probe = setup.probe('scorer', 'x', 0.5)
    probe.call(() => busy(1))
    assert.throws(() =>
      probe.call(() => {
        busy(1)
        throw new Error('late')
      }),
    )
    probe.attempt('skip', () => busy(1))
    assert.equal(over(setup, 'scorer'), 3)
  })

  it("times an observer's methods, and of other kinds their own method alone", () => {
    const setup = new ProfileSetup()
    setup.probe('observer', 'x', 0.5).notify(() => busy(1))
    setup.probe('scorer', 'x', 0.5).notify(() => busy(1))
    assert.equal(over(setup, 'observer'), 1)
    assert.equal(over(setup, 'scorer'), 0)
  })

  it('counts nothing without one', () => {
    const setup = new ProfileSetup()
    setup.probe('scorer', 'x').call(() => busy(1))
    assert.equal(
      [...setup.metrics.counts.keys()].some((key) => key.includes('budget')),
      false,
    )
  })
})
