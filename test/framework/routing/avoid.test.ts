import assert from 'node:assert/strict'
import type { SchedulerError } from '../../../src/framework/errors.ts'
import { endpoint } from '../../../src/framework/testing.ts'
import { setUp } from './director-setup.ts'

describe('endpoints that a transport knows to be broken', () => {
  const endpoints = [
    endpoint({ name: 'a', address: '10.0.0.1' }),
    endpoint({ name: 'b', address: '10.0.0.2' }),
  ]
  const at = (i: number) => endpoints[i]!.hostPort
  const refusal = (message: string) => (error: SchedulerError) =>
    error.code === 'POOL_EMPTY' && error.message === message

  it('are not picked', async () => {
    const { route } = setUp({ endpoints })
    for (let i = 0; i < 10; i++) {
      const { destination } = await route({}, undefined, { avoid: new Set([at(0), '10.0.0.9:1']) })
      assert.equal(destination, at(1))
    }
  })

  it('leave nobody when they are all', async () => {
    const { route, inFlight } = setUp({ endpoints })
    await assert.rejects(
      route({}, undefined, { avoid: new Set([at(0), at(1)]) }),
      refusal('all 2 model servers of the pool are unreachable; try again'),
    )
    assert.deepEqual(
      endpoints.map((each) => inFlight.requests(each)),
      [0, 0],
    )
    const one = setUp({ endpoints: [endpoints[0]!] })
    await assert.rejects(
      one.route({}, undefined, { avoid: new Set([at(0)]) }),
      refusal('the only model server of the pool is unreachable; try again'),
    )
  })

  it('are told from a pool without endpoints', async () => {
    const { route } = setUp({ endpoints: [] })
    await assert.rejects(
      route({}, undefined, { avoid: new Set([at(0)]) }),
      refusal('no model server is ready; the pool has 0 endpoints'),
    )
  })
})
