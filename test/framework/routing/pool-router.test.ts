import assert from 'node:assert/strict'
import { Cancellation } from '../../../src/framework/cancellation.ts'
import { PoolRouter, type RoutedPool } from '../../../src/framework/routing/pool-router.ts'
import type { GatewayCall, Routed } from '../../../src/framework/services.ts'

const never = new Cancellation()

function pool(name: string, pickerService?: string, watches = true): RoutedPool {
  const router = {
    route: () => Promise.resolve({ destination: name } as Routed),
    mayWatchResponse: () => watches,
  }
  return { name, pickerService, router }
}
async function destination(pools: readonly RoutedPool[], call: GatewayCall | undefined) {
  const request = { headers: new Map(), body: [], subset: undefined, ...(call && { call }) }
  return (await new PoolRouter(() => pools).route(request, never)).destination
}

describe('PoolRouter', () => {
  const pools = [pool('default/qwen', 'qwen-picker'), pool('default/llama'), pool('other/qwen')]

  it('gives every request to the only pool', async () => {
    assert.equal(await destination([pools[0]!], undefined), 'default/qwen')
    const call = { authority: 'anything', pool: 'nothing' }
    assert.equal(await destination([pools[0]!], call), 'default/qwen')
  })

  for (const [authority, metadata, expected] of [
    ['qwen-picker.default.svc.cluster.local:9002', undefined, 'default/qwen'],
    ['llama-epp:9002', undefined, 'default/llama'],
    ['epp-other-qwen.envoy-gateway-system:9002', undefined, 'other/qwen'],
    ['llama', undefined, 'default/llama'],
    ['llama-epp', 'other/qwen', 'other/qwen'],
    ['', 'llama', 'default/llama'],
  ] as const) {
    it(`knows the pool by authority "${authority}" and metadata ${metadata}`, async () => {
      assert.equal(await destination(pools, { authority, pool: metadata }), expected)
    })
  }

  for (const [authority, metadata] of [
    ['somebody:9002', undefined],
    ['qwen.default', undefined],
    ['llama-epp', 'qwen'],
    ['llama-epp', 'nobody'],
  ] as const) {
    it(`refuses authority "${authority}" with metadata ${metadata}`, async () => {
      await assert.rejects(destination(pools, { authority, pool: metadata }), {
        code: 'POOL_UNKNOWN',
        message: new RegExp(metadata ?? authority),
      })
    })
  }

  it('knows that no response is looked at where the pool that is meant looks at none', () => {
    const two = [pool('default/qwen', undefined, false), pool('default/llama')]
    const may = (pools: readonly RoutedPool[], authority: string) =>
      new PoolRouter(() => pools).mayWatchResponse({ authority, pool: undefined })
    assert.equal(may(two, 'qwen-epp'), false)
    assert.equal(may(two, 'llama-epp'), true)
    assert.equal(may(two, 'nobody'), true)
    assert.equal(may(two.slice(0, 1), 'nobody'), false)
    assert.equal(may([], 'nobody'), true)
  })

  it('has no pool to give while none is known', async () => {
    await assert.rejects(destination([], undefined), { code: 'POOL_EMPTY' })
  })
})
