import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApiServer } from '../discovery/kubernetes/api-server.ts'
import { Gateway } from '../extproc/client.ts'
import {
  ask,
  Cluster,
  IdleServers,
  inferencePool,
  POLICY,
  POOL_V1,
  POOL_V1ALPHA2,
  pod,
  trafficPolicy,
} from './cluster.ts'
import { eventually } from './process.ts'

const ADDRESSES = ['127.0.20.1', '127.0.20.2', '127.0.20.3', '127.0.20.4']
const PORT = 8000
const PLAIN = '--secure-serving=false'
const OUTAGE_MS = 10_000

describe('a cluster', function () {
  this.timeout(120_000)
  let servers: IdleServers
  let api: ApiServer
  let cluster: Cluster | undefined
  const gateways: Gateway[] = []

  before(async () => {
    servers = await IdleServers.start(ADDRESSES, PORT, 'Qwen3-32B')
  })
  after(() => servers.stop())

  beforeEach(() => {
    api = new ApiServer()
  })
  afterEach(async () => {
    for (const gateway of gateways.splice(0)) gateway.close()
    await cluster?.stop()
    cluster = undefined
  })

  const start = async (...args: string[]) => {
    cluster = await Cluster.start(api, [PLAIN, ...args])
    return cluster
  }
  const gatewayOf = (to: Cluster, call = {}) => {
    const gateway = new Gateway(`127.0.0.1:${to.epp.ports.grpc}`, undefined, call)
    gateways.push(gateway)
    return gateway
  }
  const addresses = async (of: Cluster) =>
    (await of.endpoints()).map(({ address }) => address).sort()
  /** Waits until the picker has these endpoints, and prints how long that took. */
  const reaches = async (of: Cluster, what: string, wanted: readonly string[]) => {
    const startedMs = performance.now()
    await eventually(what, async () => String(await addresses(of)) === String([...wanted].sort()))
    const tookMs = performance.now() - startedMs
    console.log(`      ${what}: ${Math.round(tookMs)} ms of at most 1000`)
    assert.ok(tookMs < 10_000)
  }
  const at = (...which: number[]) => which.map((i) => `${ADDRESSES[i]}:${PORT}`)

  it('follows pods as they come, are not ready, terminate and go', async () => {
    api.apply(inferencePool('qwen'), pod('a', ADDRESSES[0]!), pod('b', ADDRESSES[1]!))
    const running = await start('--pool-name', 'qwen')
    await reaches(running, 'the pool at the start', at(0, 1))
    api.apply(pod('c', ADDRESSES[2]!))
    await reaches(running, 'a new pod', at(0, 1, 2))
    api.apply(pod('b', ADDRESSES[1]!, { ready: false }))
    await reaches(running, 'a pod that is not ready', at(0, 2))
    api.apply(pod('a', ADDRESSES[0]!, { terminating: true }))
    await reaches(running, 'a terminating pod', at(2))
    const gateway = gatewayOf(running)
    assert.equal(await ask(gateway), at(2)[0])
    api.remove('v1', 'Pod', 'c')
    await reaches(running, 'no pod at all', [])
    assert.equal(await ask(gateway), 503)
    api.apply(pod('d', ADDRESSES[3]!, { labels: { app: 'other' } }))
    api.apply(inferencePool('qwen', { app: 'other' }))
    await reaches(running, 'another selector', at(3))
    api.apply(inferencePool('qwen', { app: 'other', ports: [8000, 8001] }))
    await reaches(running, 'two ports', [`${ADDRESSES[3]}:8000`, `${ADDRESSES[3]}:8001`])
    assert.deepEqual(
      (await running.endpoints()).map(({ rank }) => rank),
      [0, 1],
    )
    api.remove(POOL_V1, 'InferencePool', 'qwen')
    await reaches(running, 'no pool', [])
  })

  it('starts before its pool and its CRDs are there', async () => {
    api.unserve(POOL_V1, 'InferencePool')
    api.unserve(POOL_V1ALPHA2, 'InferencePool')
    const running = await start('--pool-name', 'qwen')
    await running.epp.process.line(({ msg }) => msg === 'Serving', 'line "Serving"')
    assert.equal(await ask(gatewayOf(running)), 503)
    api.serve(POOL_V1ALPHA2, 'InferencePool')
    api.apply(pod('a', ADDRESSES[0]!))
    api.apply({
      apiVersion: POOL_V1ALPHA2,
      kind: 'InferencePool',
      metadata: { name: 'qwen' },
      spec: { targetPortNumber: PORT, selector: { app: 'qwen3' } },
    })
    const startedMs = performance.now()
    await eventually('the pool of a late CRD', async () => (await addresses(running)).length === 1)
    console.log(
      `      a CRD that came late: ${Math.round(performance.now() - startedMs)} ms of at most 5000`,
    )
  })

  it('serves on while the API server is away, and learns what it missed', async () => {
    api.apply(inferencePool('qwen'), pod('a', ADDRESSES[0]!), pod('b', ADDRESSES[1]!))
    const running = await start('--pool-name', 'qwen')
    await reaches(running, 'the pool at the start', at(0, 1))
    const gateway = gatewayOf(running)
    const seen = new Set<string | number>()
    let asked = 0
    const load = setInterval(() => {
      asked++
      void ask(gateway).then((answer) => seen.add(answer))
    }, 50)
    try {
      await api.stop()
      const stoppedMs = performance.now()
      await eventually('the outage is said', async () =>
        /\+\] kubernetes: .*last known state/.test(await running.epp.page('/readyz?verbose')),
      )
      const down = await running.epp.page('/metrics')
      assert.match(down, /^epp_kubernetes_watches\{.*state="down".*\} [1-9]/m)
      assert.ok(
        running.epp.process.lines.some(
          ({ level, logger }) => level === 'warn' && logger === 'kubernetes',
        ),
      )
      await new Promise((resolve) =>
        setTimeout(resolve, OUTAGE_MS - (performance.now() - stoppedMs)),
      )
      api.apply(pod('c', ADDRESSES[2]!))
      api.remove('v1', 'Pod', 'a')
      api.remove('v1', 'Pod', 'b')
      api.apply(pod('b', ADDRESSES[3]!))
      assert.deepEqual(await addresses(running), at(0, 1))
      const answeredBefore = api.requests.length
      const startedMs = performance.now()
      await api.start()
      await eventually('the server serves lists again', () =>
        api.requests
          .slice(answeredBefore)
          .some(({ resource, status }) => resource === 'pods' && status === 200),
      )
      const servingMs = performance.now() - startedMs
      console.log(`      403, 429 and at last an answer: ${Math.round(servingMs)} ms`)
      await reaches(running, `the truth after ${OUTAGE_MS / 1000} s and a restart`, at(2, 3))
      await eventually(
        'the end of the outage is said',
        async () => !/last known state/.test(await running.epp.page('/readyz?verbose')),
      )
    } finally {
      clearInterval(load)
    }
    console.log(`      ${asked} requests meanwhile, to ${[...seen].sort().join(', ')}`)
    assert.ok(
      [...seen].every((answer) => typeof answer === 'string'),
      String([...seen]),
    )
  })

  it('turns a policy into a profile, until a file says otherwise', async () => {
    const tracking = { prefixCache: { mode: 'tracking', trackingConfig: { extra: 1 } } }
    api.apply(inferencePool('qwen'), pod('a', ADDRESSES[0]!))
    const running = await start('--pool-name', 'qwen', '--kv-events-bind', 'tcp://127.0.0.1:*')
    const source = async () => (await running.epp.json<{ source: string }>('/config')).source
    const scorers = async () =>
      [...(await running.epp.page('/config')).matchAll(/type: ([a-z-]+)/g)].map(([, type]) => type)
    const LOAD = [
      'queue-scorer',
      'kv-cache-utilization-scorer',
      'active-request-scorer',
      'max-score-picker',
    ]
    assert.deepEqual(await scorers(), LOAD)
    api.apply(trafficPolicy('qwen', tracking))
    await eventually('the policy is in force', async () => /policy/.test(await source()))
    assert.equal(await source(), 'InferenceTrafficPolicy default/inference-policy')
    assert.deepEqual(await scorers(), ['precise-prefix-cache-scorer', ...LOAD])
    assert.match(await running.epp.page('/readyz?verbose'), /policy: .*trackingConfig\.extra/)
    const [line] = running.epp.process.logged('Configuration from a policy')
    assert.match(String(line?.configuration), /precise-prefix-cache-scorer/)
    api.apply(trafficPolicy('qwen', { prefixCache: { mode: 'estimate' } }))
    await eventually('the changed policy', async () =>
      (await scorers()).includes('prefix-cache-scorer'),
    )
    api.apply(trafficPolicy('qwen', { prefixCache: { mode: 'wrong' } }))
    await eventually('the faulty policy is said', async () =>
      /wrong/.test(await running.epp.page('/readyz?verbose')),
    )
    assert.ok((await scorers()).includes('prefix-cache-scorer'))
    api.remove(POLICY, 'InferenceTrafficPolicy', 'inference-policy')
    await eventually('no policy', async () => String(await scorers()) === String(LOAD))
    await running.epp.stop()

    const folder = mkdtempSync(join(tmpdir(), 'epp-policy-'))
    try {
      writeFileSync(join(folder, 'c.yaml'), 'plugins: [{ type: random-picker }]\n')
      api.apply(trafficPolicy('qwen', tracking))
      const args = ['--config-file', join(folder, 'c.yaml'), '--pool-name', 'qwen']
      await api.stop()
      const given = await start(...args)
      await eventually('the policy is known and not in force', async () =>
        /policy: .*is not in force/.test(await given.epp.page('/readyz?verbose')),
      )
      assert.equal((await given.epp.json<{ source: string }>('/config')).source, args[1])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('serves several pools, told apart by the call and never by the request', async () => {
    api.apply(
      inferencePool('qwen', { app: 'a' }),
      inferencePool('llama', { app: 'b' }),
      pod('a', ADDRESSES[0]!, { labels: { app: 'a' } }),
      pod('b', ADDRESSES[1]!, { labels: { app: 'b' } }),
    )
    const running = await start('--pool-name', 'qwen', '--pool-name', 'llama')
    await reaches(running, 'both pools', at(0, 1))
    for (const [call, expected] of [
      [{ authority: 'qwen-picker.default.svc:9002' }, at(0)[0]],
      [{ authority: 'llama-epp:9002' }, at(1)[0]],
      [{ authority: 'epp-default-llama.envoy-gateway-system:9002' }, at(1)[0]],
      [{ pool: 'default/qwen' }, at(0)[0]],
      [{ authority: 'llama-epp:9002', pool: 'qwen' }, at(0)[0]],
      [{ authority: 'nobody' }, 503],
    ] as const) {
      const headers = { 'x-epp-pool': 'llama', ':authority': 'llama-epp:9002' }
      assert.equal(await ask(gatewayOf(running, call), { headers }), expected, JSON.stringify(call))
    }
    const page = await running.epp.page('/metrics')
    for (const [pool, name] of [
      ['default/qwen', 'qwen'],
      ['default/llama', 'llama'],
    ]) {
      assert.ok(page.includes(`inference_pool_ready_pods{name="${name}",pool="${pool}"} 1`))
      assert.match(page, new RegExp(`^epp_endpoints\\{pool="${pool}"\\} 1$`, 'm'))
    }
  })

  it('serves the pools that a selector finds, as they come and go', async () => {
    api.apply(
      inferencePool('qwen', { labels: { tier: 'gold' } }),
      inferencePool('llama'),
      pod('a', ADDRESSES[0]!),
    )
    const running = await start('--pool-selector', 'tier=gold')
    const pools = async () =>
      [...new Set((await running.endpoints()).map(({ pool }) => pool))].sort()
    await eventually('the selected pool', async () => String(await pools()) === 'default/qwen')
    api.apply(inferencePool('llama', { labels: { tier: 'gold' } }))
    await eventually('both', async () => String(await pools()) === 'default/llama,default/qwen')
    api.remove(POOL_V1, 'InferencePool', 'qwen')
    await eventually('the other', async () => String(await pools()) === 'default/llama')
    assert.equal(await ask(gatewayOf(running)), at(0)[0])
    assert.doesNotMatch(await running.epp.page('/metrics'), /epp_endpoints\{pool="default\/qwen"/)
  })

  it('needs no CRD where pods are named by labels', async () => {
    api.unserve(POOL_V1, 'InferencePool')
    api.apply(pod('a', ADDRESSES[0]!), pod('b', ADDRESSES[1]!, { labels: { app: 'other' } }))
    const running = await start(
      '--endpoint-selector',
      'app=qwen3',
      '--endpoint-target-ports',
      '8000',
    )
    await reaches(running, 'pods by labels', at(0))
    assert.equal(await ask(gatewayOf(running)), at(0)[0])
    assert.deepEqual([...new Set(api.requests.map(({ resource }) => resource))], ['pods'])
  })

  it('renames models and knows priorities by objects', async () => {
    const ref = { poolRef: { name: 'qwen' } }
    api.apply(
      inferencePool('qwen'),
      pod('a', ADDRESSES[0]!),
      {
        apiVersion: POOL_V1ALPHA2,
        kind: 'InferenceModel',
        metadata: { name: 'chat' },
        spec: {
          ...ref,
          modelName: 'chat',
          criticality: 'Critical',
          targetModels: [{ name: 'Qwen3-32B', weight: 100 }],
        },
      },
      {
        apiVersion: 'llm-d.ai/v1alpha2',
        kind: 'InferenceObjective',
        metadata: { name: 'batch' },
        spec: { ...ref, priority: -1 },
      },
      {
        apiVersion: 'llm-d.ai/v1alpha2',
        kind: 'InferenceModelRewrite',
        metadata: { name: 'old-name' },
        spec: {
          ...ref,
          rules: [
            {
              matches: [{ model: { type: 'Exact', value: 'old' } }],
              targets: [{ modelRewrite: 'Qwen3-32B' }],
            },
          ],
        },
      },
    )
    const running = await start('--pool-name', 'qwen')
    const gateway = gatewayOf(running)
    const handled = async (id: string) => {
      const line = await running.epp.process.line(
        (each) => each.msg === 'Request handled' && each['x-request-id'] === id,
        `line of ${id}`,
      )
      return [line.model, line.resolvedTargetModel, line.criticality]
    }
    await eventually(
      'the rules are known',
      async () => (await ask(gateway, { model: 'old' })) === at(0)[0],
    )
    await ask(gateway, { id: 'm1', model: 'chat' })
    assert.deepEqual(await handled('m1'), ['chat', 'Qwen3-32B', 'Critical'])
    await ask(gateway, { id: 'm2', headers: { 'x-llm-d-inference-objective': 'batch' } })
    assert.deepEqual(await handled('m2'), ['Qwen3-32B', 'Qwen3-32B', 'Sheddable'])
    await ask(gateway, { id: 'm3', model: 'old' })
    assert.deepEqual(await handled('m3'), ['old', 'Qwen3-32B', 'Standard'])
    assert.match(
      await running.epp.page('/metrics'),
      /^inference_objective_request_total\{.*priority="-1".*\} 1$/m,
    )
  })
})
