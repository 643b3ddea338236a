import assert from 'node:assert/strict'
import { attributeKey } from '../../../src/framework/attributes.ts'
import { Cancellation } from '../../../src/framework/cancellation.ts'
import { SchedulerError } from '../../../src/framework/errors.ts'
import type { Producer } from '../../../src/framework/plugin.ts'
import { produceAll } from '../../../src/framework/routing/produce.ts'
import { request } from '../../../src/framework/testing.ts'
import { ProfileSetup } from './profile-setup.ts'

const never = new Cancellation()
const NUMBER = attributeKey<number>('Number')

/** Has one producer make a number, and tells what became of it. */
async function run(produce: Producer['produce'], timeBudgetMs?: number, signal = never) {
  const setup = new ProfileSetup()
  const probe = setup.probe('producer', 'x', timeBudgetMs)
  const failures: SchedulerError[] = []
  const asked = request()
  const producer = { name: 'x', plugin: { produce }, probe, key: NUMBER }
  await produceAll([producer], asked, [], signal, (error) => failures.push(error))
  const over = 'epp_plugin_over_budget_total{kind=producer,type=test,name=x}'
  return {
    value: asked.attributes.get(NUMBER),
    said: failures.map(({ message }) => message),
    failed: setup.failures('producer', 'x'),
    over: setup.metrics.value(over),
    late: () => asked.attributes.get(NUMBER),
  }
}

describe('produceAll', () => {
  it('sets what producers make, at once or later', async () => {
    assert.equal((await run(() => 1)).value, 1)
    assert.equal((await run(async () => 2)).value, 2)
    assert.equal((await run(async () => 3, 10_000)).value, 3)
    assert.equal((await run(() => 4, 10_000)).value, 4)
  })

  it('goes on without the data of one that fails', async () => {
    const boom = () => {
      throw new Error('boom')
    }
    for (const [produce, budgetMs] of [
      [boom, undefined],
      [boom, 10_000],
      [async () => boom(), undefined],
      [async () => boom(), 10_000],
    ] as const) {
      const { value, said, failed, over } = await run(produce, budgetMs)
      assert.deepEqual([value, failed, over], [undefined, 1, 0])
      assert.deepEqual(said, ['producer "x" failed: boom'])
    }
  })

  it('gives one up when its time is over: its signal fires, and what it makes later is not taken', async () => {
    let resolve: (value: number) => void = () => {}
    let fired = false
    const { value, said, failed, over, late } = await run((_request, _endpoints, { signal }) => {
      signal.addEventListener('abort', () => {
        fired = true
      })
      return new Promise((done) => {
        resolve = done
      })
    }, 20)
    assert.deepEqual([value, failed, over, fired], [undefined, 1, 1, true])
    assert.deepEqual(said, ['producer "x" took longer than its timeBudgetMs of 20'])
    resolve(5)
    await new Promise(setImmediate)
    assert.equal(late(), undefined)
  })

  it('lets a rejection that comes after that go', async () => {
    const { said } = await run(
      (_request, _endpoints, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new Error('aborted')))
        }),
      20,
    )
    assert.deepEqual(said, ['producer "x" took longer than its timeBudgetMs of 20'])
  })

  it("hands the client's end to a producer with a budget", async () => {
    const client = new Cancellation()
    const { said } = await run(
      (_request, _endpoints, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(new Error('gone')))
          client.cancel()
        }),
      10_000,
      client,
    )
    assert.deepEqual(said, ['producer "x" failed: gone'])
  })

  it('refuses the request with an error that blames the client, which is no failure', async () => {
    const refusal = new SchedulerError('BAD_REQUEST', 'the prompt is too long')
    await assert.rejects(
      run(async () => {
        throw refusal
      }),
      refusal,
    )
  })
})
