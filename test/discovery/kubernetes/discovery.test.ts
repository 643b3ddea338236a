import assert from 'node:assert/strict'
import { seededRandom } from '../../../src/framework/random.ts'
import { until } from '../../datalayer/telemetry.ts'
import { ApiServer } from './api-server.ts'
import {
  discover,
  LLM_D,
  POOL_ALPHA,
  POOL_V1,
  podObject,
  policyObject,
  poolObject,
  poolPart,
  SHORT,
} from './cluster.ts'

const TRACKING = {
  mode: 'tracking',
  trackingConfig: { indexerConfig: { tokenProcessorConfig: { blockSize: 64, hashSeed: 42 } } },
}
/** A notable time for a change to arrive, which is printed; tests fail at ten times the value. */
const LIMIT_MS = 1000

describe('KubernetesDiscovery', () => {
  let server: ApiServer
  let running: ReturnType<typeof discover> | undefined

  beforeEach(async () => {
    server = new ApiServer()
    await server.start()
  })
  afterEach(async () => {
    await running?.stop()
    running = undefined
    await server.close()
  })
  const start = (...args: Parameters<typeof discover> extends [unknown, ...infer T] ? T : never) =>
    (running = discover(server, ...args))
  const saysPool = (texts: readonly string[], name = 'pool') =>
    until(
      `${name} has ${texts.join(', ') || 'nothing'}`,
      () => JSON.stringify(running!.host.pool(name)?.text) === JSON.stringify(texts),
      LIMIT_MS * 10,
    )
  const isReady = () => until('ready', () => running!.readiness.ready(), LIMIT_MS * 10)

  it('is ready once the pool and its pods have been seen, and says how many', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1'), podObject('x', '10.0.0.9', { app: 'x' }))
    const { readiness, detail } = start()
    assert.equal(readiness.ready(), false)
    await isReady()
    assert.deepEqual(running!.host.pool('pool').text, ['a 10.0.0.1:8000 0'])
    await until('the detail', () => detail() === '1 pools, 1 endpoints')
  })

  it('says nothing of endpoints, and is not ready, before the pods are listed', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1'))
    server.fail('pods', 503, Number.POSITIVE_INFINITY)
    const { readiness, detail } = start()
    await until('trouble', () => detail().startsWith('cannot watch pods in default: 503'))
    assert.equal(readiness.ready(), false)
    assert.equal(running!.host.pool('pool').specs, undefined)
    server.heal()
    await isReady()
    assert.deepEqual(running!.host.pool('pool').text, ['a 10.0.0.1:8000 0'])
  })

  it('is ready without endpoints when the pool is known not to exist, and says so until it does', async () => {
    const { notice } = start()
    await isReady()
    await saysPool([])
    assert.match(notice('kubernetes:pool:default/pool')!, /no InferencePool default\/pool/)
    server.apply(podObject('a', '10.0.0.1'), poolObject())
    await saysPool(['a 10.0.0.1:8000 0'])
    assert.equal(notice('kubernetes:pool:default/pool'), undefined)
  })

  it('follows pods: ready, not ready, relabelled, terminating, deleted, made anew', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1', { ready: false }))
    start()
    await isReady()
    await saysPool([])
    const steps: readonly (readonly [() => unknown, readonly string[]])[] = [
      [() => server.apply(podObject('a', '10.0.0.1')), ['a 10.0.0.1:8000 0']],
      [() => server.apply(podObject('a', '10.0.0.1', { app: 'other' })), []],
      [() => server.apply(podObject('a', '10.0.0.1')), ['a 10.0.0.1:8000 0']],
      [() => server.apply(podObject('b', 'fd00::2')), ['a 10.0.0.1:8000 0', 'b fd00::2:8000 0']],
      [
        () =>
          server.apply(podObject('b', 'fd00::2', { deletionTimestamp: '2026-01-01T00:00:00Z' })),
        ['a 10.0.0.1:8000 0'],
      ],
      [() => server.remove('v1', 'Pod', 'a'), []],
    ]
    for (const [change, expected] of steps) {
      change()
      await saysPool(expected)
    }
    server.apply(podObject('c', '10.0.0.3'))
    await saysPool(['c 10.0.0.3:8000 0'])
    const [before] = running!.host.pool('pool').specs!
    server.remove('v1', 'Pod', 'c')
    server.apply(podObject('c', '10.0.0.3'))
    await until('another uid', () => {
      const [now] = running!.host.pool('pool').specs!
      return now !== undefined && now.uid !== before!.uid
    })
  })

  it('gives each port a rank, and takes active ports from either annotation', async () => {
    server.apply(
      poolObject('pool', { ports: [8000, 8001, 8002] }),
      podObject('a', '10.0.0.1', { annotations: { 'llm-d.ai/active-ports': '8002,8000' } }),
      podObject('b', '10.0.0.2', {
        annotations: { 'inference.networking.k8s.io/active-ports': '8001' },
      }),
    )
    start()
    await saysPool(['a 10.0.0.1:8000 0', 'a 10.0.0.1:8002 2', 'b 10.0.0.2:8001 1'])
    server.apply(poolObject('pool', { ports: [8001, 9000] }))
    await saysPool(['b 10.0.0.2:8001 0'])
    const lists = server.requests.filter(({ resource, watch }) => resource === 'pods' && !watch)
    assert.equal(lists.length, 1, 'other ports of the same pods need no list')
  })

  it('keeps the endpoints of the old selector until those of the new one are listed', async () => {
    server.apply(
      poolObject(),
      podObject('a', '10.0.0.1'),
      podObject('n', '10.0.0.2', { app: 'new' }),
    )
    start()
    await saysPool(['a 10.0.0.1:8000 0'])
    server.fail('pods', 503, 3)
    const sink = running!.host.pool('pool')
    const seen: unknown[] = []
    const record = sink.endpoints.bind(sink)
    sink.endpoints = (specs) => {
      seen.push(specs.map(({ name }) => name))
      record(specs)
    }
    server.apply(poolObject('pool', { app: 'new' }))
    await saysPool(['n 10.0.0.2:8000 0'])
    assert.deepEqual(seen, [['n']])
    await until('the old watch is closed', () => {
      const pods = server.watches.resources.filter((resource) => resource === 'v1/pods')
      return pods.length === 1
    })
  })

  it('empties a pool that is deleted, and fills it again', async () => {
    server.apply(
      poolObject('pool', { endpointPickerRef: { name: 'epp' } }),
      podObject('a', '10.0.0.1'),
    )
    start()
    await isReady()
    assert.equal(running!.host.pool('pool').picker, 'epp')
    server.remove(POOL_V1, 'InferencePool', 'pool')
    await saysPool([])
    assert.equal(running!.host.pool('pool').picker, undefined)
    server.apply(poolObject())
    await saysPool(['a 10.0.0.1:8000 0'])
  })

  describe('with two API groups of pools', () => {
    const both = () =>
      server.apply(
        poolObject('pool', { ports: [8000] }),
        poolObject('pool', { alpha: true, ports: [9000] }),
        podObject('a', '10.0.0.1'),
      )

    it('prefers v1, then takes the other', async () => {
      both()
      start()
      await saysPool(['a 10.0.0.1:8000 0'])
      server.remove(POOL_V1, 'InferencePool', 'pool')
      await saysPool(['a 10.0.0.1:9000 0'])
      server.apply(poolObject('pool', { ports: [8000] }))
      await saysPool(['a 10.0.0.1:8000 0'])
    })

    it('prefers the group that is asked for, and says when only the other has the pool', async () => {
      both()
      const pools = [{ namespace: 'default', name: 'pool' }]
      start({ kind: 'pools', pools, group: 'inference.networking.x-k8s.io' })
      await saysPool(['a 10.0.0.1:9000 0'])
      server.remove(POOL_ALPHA, 'InferencePool', 'pool')
      await saysPool(['a 10.0.0.1:8000 0'])
      assert.match(
        running!.notice('kubernetes:pool:default/pool')!,
        /the one in inference\.networking\.k8s\.io is used/,
      )
    })

    it('is ready when it may not read the group that does not have the pool', async () => {
      server.apply(poolObject('pool', { alpha: true }), podObject('a', '10.0.0.1'))
      server.fail(`${POOL_V1}/inferencepools`, 403, Number.POSITIVE_INFINITY)
      start()
      await isReady()
      await saysPool(['a 10.0.0.1:8000 0'])
      server.remove(POOL_ALPHA, 'InferencePool', 'pool')
      await saysPool([])
    })

    it('is not ready when the pool may be in a group that it may not read', async () => {
      server.fail(`${POOL_V1}/inferencepools`, 403, Number.POSITIVE_INFINITY)
      const { readiness, detail } = start()
      await until('trouble', () => detail().startsWith('cannot watch inferencepools'))
      assert.match(detail(), /403 Forbidden: on demand since .*; not ready until it can be$/)
      assert.equal(readiness.ready(), false)
      server.heal()
      await isReady()
    })

    it('empties the pool when its CRD goes, and notices one that appears', async () => {
      server.unserve(POOL_V1, 'InferencePool')
      server.unserve(POOL_ALPHA, 'InferencePool')
      server.apply(podObject('a', '10.0.0.1'))
      const { notice } = start()
      await isReady()
      await saysPool([])
      assert.match(notice('kubernetes:pool:default/pool')!, /serves no InferencePools/)
      server.apply(poolObject())
      await saysPool(['a 10.0.0.1:8000 0'])
      server.unserve(POOL_V1, 'InferencePool')
      await saysPool([])
    })
  })

  it('takes 403 for an API that is not served, when the list of APIs says so', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1'))
    server.unserve(LLM_D, 'InferenceObjective')
    server.fail('inferenceobjectives', 403, Number.POSITIVE_INFINITY)
    running = discover(server)
    await isReady()
    await saysPool(['a 10.0.0.1:8000 0'])
    await until('one of two groups is in trouble', () => {
      const notices = running!.notices.list().map(({ key }) => key)
      return (
        notices.includes('kubernetes:inferenceobjectives.inference.networking.x-k8s.io') &&
        !notices.includes('kubernetes:inferenceobjectives.llm-d.ai')
      )
    })
  })

  it('serves several pools of several namespaces', async () => {
    const inOther = <T extends { metadata: object }>(object: T): T => ({
      ...object,
      metadata: { ...object.metadata, namespace: 'other' },
    })
    server.apply(
      poolObject('one'),
      poolObject('two'),
      inOther(poolObject('one')),
      podObject('a', '10.0.0.1', { app: 'one' }),
      podObject('b', '10.0.0.2', { app: 'two' }),
      inOther(podObject('c', '10.0.0.3', { app: 'one' })),
    )
    const names = [
      { namespace: 'default', name: 'one' },
      { namespace: 'default', name: 'two' },
      { namespace: 'other', name: 'one' },
    ]
    start({ kind: 'pools', pools: names })
    await isReady()
    await saysPool(['a 10.0.0.1:8000 0'], 'one')
    await saysPool(['b 10.0.0.2:8000 0'], 'two')
    assert.deepEqual(running!.host.pool('one', 'other').text, ['c 10.0.0.3:8000 0'])
    // For two namespaces: pools, models and policies once, pools, objectives and rewrites of a second group, and three of pods.
    await until('all watches are open', () => server.watches.resources.length === 2 * 8 + 3)
    const pools = server.watches.resources.filter((each) => each === `${POOL_V1}/inferencepools`)
    assert.equal(pools.length, 2, 'one watch per namespace')
  })

  it('opens and closes the pools that a selector finds', async () => {
    const labelled = (name: string, tier: string) => {
      const object = poolObject(name)
      return { ...object, metadata: { ...object.metadata, labels: { tier } } }
    }
    server.apply(labelled('one', 'gold'), podObject('a', '10.0.0.1', { app: 'one' }))
    start({ kind: 'pool-selector', namespace: 'default', selector: 'tier=gold' })
    await isReady()
    await saysPool(['a 10.0.0.1:8000 0'], 'one')
    server.apply(labelled('two', 'gold'))
    await saysPool([], 'two')
    server.apply(labelled('one', 'silver'))
    await until('one is closed', () => !running!.host.pool('one').isOpen)
    assert.ok(running!.host.pool('two').isOpen)
  })

  it('needs no CRD for pods by label', async () => {
    for (const version of [POOL_V1, POOL_ALPHA]) server.unserve(version, 'InferencePool')
    server.apply(podObject('a', '10.0.0.1', { app: 'x' }), podObject('b', '10.0.0.2', { app: 'y' }))
    start({
      kind: 'endpoints',
      pool: { namespace: 'default', name: 'standalone' },
      selector: 'app in (x, z)',
      targetPorts: [8000, 8001, 8000],
    })
    await isReady()
    await saysPool(['a 10.0.0.1:8000 0', 'a 10.0.0.1:8001 1'], 'standalone')
    await until('a watch', () => server.watches.resources.length > 0)
    assert.deepEqual(server.watches.resources, ['v1/pods'])
    assert.deepEqual(new Set(server.requests.map(({ resource }) => resource)), new Set(['pods']))
  })

  it('tells priorities and models by the objects of the newer group', async () => {
    const draw = seededRandom(1)
    server.unserve(LLM_D, 'InferenceObjective')
    server.apply(
      poolObject(),
      poolPart(POOL_ALPHA, 'InferenceObjective', 'old', { priority: 3 }),
      poolPart(POOL_ALPHA, 'InferenceModel', 'chat', {
        ...{ modelName: 'chat', criticality: 'Critical', targetModels: [{ name: 'chat-v1' }] },
      }),
      poolPart(POOL_ALPHA, 'InferenceObjective', 'foreign', {
        poolRef: { name: 'x' },
        priority: 9,
      }),
    )
    start()
    await isReady()
    const rules = () => running!.host.pool('pool').currentRules!
    assert.equal(rules().priorityOf('old'), 3)
    assert.equal(rules().priorityOf('foreign'), undefined)
    assert.deepEqual(rules().ruleOf('chat', draw), {
      ...{ targetModel: 'chat-v1', criticality: 'Critical' },
      source: 'InferenceModel default/chat',
    })
    server.apply(poolPart(LLM_D, 'InferenceObjective', 'new', { priority: -1 }))
    await until('the newer group', () => rules().priorityOf('new') === -1)
    assert.equal(rules().priorityOf('old'), undefined)
    assert.match(running!.notice('kubernetes:inferenceobjectives:default')!, /^2 .* have no effect/)
    server.apply(
      poolPart(LLM_D, 'InferenceModelRewrite', 'r', {
        rules: [
          { matches: [{ model: { value: 'chat' } }], targets: [{ modelRewrite: 'chat-v2' }] },
        ],
      }),
    )
    await until('the rewrite', () => rules().ruleOf('chat', draw)?.targetModel === 'chat-v2')
    assert.equal(rules().ruleOf('chat', draw)!.criticality, 'Critical')
  })

  it('takes the oldest policy, keeps the last good version of it, and says both', async () => {
    const old = { creationTimestamp: '2025-01-01T00:00:00Z' }
    server.apply(poolObject(), policyObject('young', { mode: 'estimate' }))
    start()
    await isReady()
    const pool = running!.host.pool('pool')
    assert.equal(pool.currentPolicy!.source, 'InferenceTrafficPolicy default/young')
    server.apply(policyObject('old', TRACKING, old))
    await until('the older one', () => pool.currentPolicy!.source.endsWith('/old'))
    assert.match(running!.notice('kubernetes:policy:default/pool')!, /young has no effect/)
    const before = pool.policies
    server.apply(policyObject('old', { mode: 'magic' }, old))
    const key = 'kubernetes:inferencetrafficpolicies.inferenceextension.alibabacloud.com:objects'
    await until('a notice of the fault', () => running!.notice(key) !== undefined)
    assert.match(running!.notice(key)!, /default\/old: .*mode is "magic"; use one of tracking/)
    assert.equal(pool.policies, before)
    server.remove('inferenceextension.alibabacloud.com/v1alpha1', 'InferenceTrafficPolicy', 'old')
    await until('the younger one', () => pool.currentPolicy!.source.endsWith('/young'))
    assert.equal(running!.notice(key), undefined)
    server.remove('inferenceextension.alibabacloud.com/v1alpha1', 'InferenceTrafficPolicy', 'young')
    await until('no policy', () => pool.currentPolicy === undefined)
  })

  it('keeps the last good version of a pool and of a pod, and lets a terminating pod go however it looks', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1'), podObject('b', '10.0.0.2'))
    start()
    await saysPool(['a 10.0.0.1:8000 0', 'b 10.0.0.2:8000 0'])
    server.apply(poolObject('pool', { targetPorts: [{ number: 99999 }] }), {
      ...podObject('a', 'not an address'),
      extra: 1,
    })
    await until('both faults', async () => {
      const pods = running!.notice('kubernetes:pods:objects')
      const pools = running!.notice('kubernetes:inferencepools.inference.networking.k8s.io:objects')
      return pods !== undefined && pools !== undefined
    })
    assert.deepEqual(running!.host.pool('pool').text, ['a 10.0.0.1:8000 0', 'b 10.0.0.2:8000 0'])
    server.apply({
      ...podObject('a', 'x', {
        deletionTimestamp: '2026-01-01T00:00:00Z',
        labels: { app: 'pool' },
      }),
      status: 'nonsense',
    })
    await saysPool(['b 10.0.0.2:8000 0'])
    assert.equal(
      await running!.value('epp_kubernetes_errors_total{resource="pods",reason="object"}'),
      1,
    )
  })

  it('serves on with the last known state while the server is away, says so, and catches up', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1'), podObject('b', '10.0.0.2'))
    const { readiness, detail, notice, lines } = start()
    await isReady()
    await saysPool(['a 10.0.0.1:8000 0', 'b 10.0.0.2:8000 0'])
    await server.stop()
    const sentence =
      /^cannot watch pods in default: .*ECONNREFUSED.* since \d\d:\d\d:\d\d; serving with the last known state$/
    await until('trouble is said', () => sentence.test(notice('kubernetes:pods') ?? ''))
    assert.match(detail(), /^cannot watch .*; serving with the last known state$/)
    assert.ok(readiness.ready())
    assert.equal(await running!.value('epp_kubernetes_watches{resource="pods",state="down"}'), 1)
    server.remove('v1', 'Pod', 'a')
    server.apply(podObject('c', '10.0.0.3'))
    assert.equal(running!.host.pool('pool').text!.length, 2)
    await server.start()
    await saysPool(['b 10.0.0.2:8000 0', 'c 10.0.0.3:8000 0'])
    await until('all is well', () => detail() === '1 pools, 2 endpoints')
    assert.equal(notice('kubernetes:pods'), undefined)
    const about = lines.filter((line) => line.includes('pods in default'))
    assert.deepEqual(
      about.map((line) => JSON.parse(line).msg),
      [
        'Cannot watch pods in default; serving with the last known state',
        'Watching pods in default again',
      ],
    )
    const statuses = new Set(
      server.requests.filter(({ resource }) => resource === 'pods').map(({ status }) => status),
    )
    assert.deepEqual(statuses, new Set([200, 403, 429]))
  })

  it('keeps what it knows while an API that was served answers 404 for a moment', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1'))
    start()
    await isReady()
    const pool = running!.host.pool('pool')
    const { said } = pool
    server.fail('inferencepools', 404, 4)
    server.watches.drop()
    await until('the watch is open again', () =>
      server.watches.resources.includes(`${POOL_V1}/inferencepools`),
    )
    assert.equal(pool.said, said)
  })

  it('tells several events that come together as one change', async () => {
    server.apply(poolObject())
    start()
    await isReady()
    const pool = running!.host.pool('pool')
    await until('the watch is open', () => server.watches.resources.includes('v1/pods'))
    const { said } = pool
    const event = (name: string, ip: string) => {
      const object = podObject(name, ip)
      const metadata = { ...object.metadata, namespace: 'default', uid: name, resourceVersion: '7' }
      return `${JSON.stringify({ type: 'ADDED', object: { ...object, metadata } })}\n`
    }
    server.watches.write('pods', event('a', '10.0.0.1') + event('b', '10.0.0.2'))
    await saysPool(['a 10.0.0.1:8000 0', 'b 10.0.0.2:8000 0'])
    assert.equal(pool.said, said + 1)
  })

  it('tells a change in the step of its event, and stops without a request left', async () => {
    server.apply(poolObject(), podObject('a', '10.0.0.1'))
    start()
    await isReady()
    const began = performance.now()
    server.apply(podObject('b', '10.0.0.2'))
    await until('b', () => running!.host.pool('pool').text!.length === 2)
    const tookMs = performance.now() - began
    console.log(`      a pod arrives after ${tookMs.toFixed(1)} ms (limit ${LIMIT_MS} ms)`)
    assert.ok(tookMs < LIMIT_MS * 10)
    await running!.stop()
    running = undefined
    await until('no connection is left', () => server.connections === 0)
  })

  it('makes no hot loop of quiet, refused or broken watches', async () => {
    server.apply(poolObject())
    start(undefined, { ...SHORT, minWatchSeconds: 30, maxWatchSeconds: 30 })
    await isReady()
    server.fail('pods', 403, Number.POSITIVE_INFINITY)
    server.watches.end()
    const before = server.requests.length
    await new Promise((done) => setTimeout(done, 1000))
    const made = server.requests.slice(before).filter(({ resource }) => resource === 'pods').length
    // Waits of 10 to 100 ms, each at least half as long as it says.
    assert.ok(made > 5 && made < 30, `${made} requests`)
  })
})
