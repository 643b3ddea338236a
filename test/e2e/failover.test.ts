import assert from 'node:assert/strict'
import { ApiServer } from '../discovery/kubernetes/api-server.ts'
import { documentBody, tokenizersDir } from '../fixtures.ts'
import { type EndpointPage, inferencePool, pod } from './cluster.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { cachedTokens, post } from './openai-client.ts'
import { eventually, type Process } from './process.ts'

const ADDRESSES = ['127.0.21.1', '127.0.21.2']
const LEASE_MS = 3000
const HEALTH_INTERVAL_MS = 500
/** Requests a second. */
const RATE = 50

describe('two replicas with a lease, engines that both dial, real Envoy', function () {
  this.timeout(120_000)
  const api = new ApiServer()
  const engines: Process[] = []
  const replicas: Epp[] = []
  let envoy: Envoy

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    await api.start()
    api.apply(inferencePool('qwen'), ...ADDRESSES.map((address, i) => pod(`qwen3-${i}`, address)))
    for (const address of ADDRESSES) {
      const events = {
        enable_kv_cache_events: true,
        publisher: 'zmq',
        endpoint: 'tcp://*:5557',
        topic: `kv@${address}@Qwen3-32B`,
      }
      const engine = await startEngine([
        ...['--host', address, '--port', '8000', '--tokenizers-dir', tokenizersDir()],
        ...['--served-model-name', 'Qwen3-32B', '--block-size', '64'],
        ...['--kv-events-config', JSON.stringify(events)],
      ])
      engines.push(engine.process)
    }
    for (let i = 0; i < 2; i++) {
      replicas.push(
        await Epp.start([
          ...['--kubeconfig', api.kubeconfigFile(), '--pool-name', 'qwen', '--kv-events-dial'],
          ...['--ha-enable-leader-election', '--ha-lease-duration', `${LEASE_MS}ms`],
          ...[
            '--tokenizers-dir',
            tokenizersDir(),
            '--config-file',
            'config/scheduler-profiles.yaml',
          ],
        ]),
      )
    }
    envoy = await Envoy.start(replicas[0]!.ports.grpc, (document) => {
      const cluster = ['static_resources', 'clusters', 1]
      const first = document.getIn([
        ...cluster,
        'load_assignment',
        'endpoints',
        0,
        'lb_endpoints',
        0,
      ])
      const second = document.createNode({
        endpoint: {
          address: {
            socket_address: { address: '127.0.0.1', port_value: replicas[1]!.ports.grpc },
          },
        },
      })
      document.setIn(
        [...cluster, 'load_assignment', 'endpoints', 0, 'lb_endpoints'],
        document.createNode([first, second]),
      )
      const health = [...cluster, 'health_checks', 0]
      const interval = `${HEALTH_INTERVAL_MS / 1000}s`
      for (const name of ['interval', 'unhealthy_interval', 'no_traffic_interval']) {
        document.setIn([...health, name], interval)
      }
      document.setIn([...health, 'unhealthy_threshold'], 1)
      document.setIn([...health, 'healthy_threshold'], 1)
      document.setIn([...cluster, 'common_lb_config'], { healthy_panic_threshold: { value: 0 } })
    })
  })

  after(async () => {
    await envoy?.stop()
    for (const replica of replicas) await replica.stop()
    for (const engine of engines) await engine.stop()
    await api.close()
  })

  const leaders = async () => {
    const living = replicas.filter(({ process }) => process.exitCode === undefined)
    const all = await Promise.all(
      living.map(async (replica) => ((await replica.metric('epp_leader')) === 1 ? [replica] : [])),
    )
    return all.flat()
  }
  const send = (body: string, id: string) =>
    post(`${envoy.url}/v1/chat/completions`, body, { 'x-request-id': id })

  it('answers on when the leader is killed: 200 or 503, warm, within lease and health interval', async () => {
    const [leader] = await eventually('one leads', async () => {
      const leading = await leaders()
      return leading.length === 1 ? leading : undefined
    })
    const standby = replicas.find((replica) => replica !== leader)!
    const statusOf = async (replica: Epp) =>
      (await fetch(`http://127.0.0.1:${replica.ports.metrics}/readyz`)).status
    assert.deepEqual([await statusOf(leader!), await statusOf(standby)], [200, 503])

    const first = await eventually('Envoy knows the leader', async () => {
      const answer = await send(documentBody('round1'), 'round1')
      return answer.status === 200 ? answer : undefined
    })
    assert.equal(first.usage!.prompt_tokens, 197)
    await eventually('both replicas have heard of its blocks', async () => {
      const pages = await Promise.all(
        replicas.map((replica) => replica.json<EndpointPage[]>('/endpoints')),
      )
      return pages.every((page) => page.reduce((sum, { blocks }) => sum + blocks, 0) >= 3)
    })
    const served = (await leader!.process.line(
      (line) => line.msg === 'Request handled' && line['x-request-id'] === 'round1',
      'line of round1',
    )) as unknown as { endpoint: { Address: string } }

    const statuses = new Map<number | string, number>()
    let sent = 0
    const pending = new Set<Promise<void>>()
    const statusOfLoad = async (id: string): Promise<number | string> => {
      try {
        const response = await fetch(`${envoy.url}/v1/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-request-id': id },
          body: JSON.stringify({ model: 'Qwen3-32B', prompt: id, max_tokens: 1 }),
        })
        await response.arrayBuffer()
        return response.status
      } catch (error) {
        return String(error)
      }
    }
    const load = setInterval(() => {
      const answered = statusOfLoad(`load-${sent++}`).then((status) => {
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        pending.delete(answered)
      })
      pending.add(answered)
    }, 1000 / RATE)
    let tookMs: number
    try {
      await eventually('the load flows', () => (statuses.get(200) ?? 0) >= RATE)
      process.kill(leader!.process.pid, 'SIGKILL')
      const killedMs = performance.now()
      await eventually('the standby answers', async () =>
        standby.process.lines.some(
          (line) => line.msg === 'Request handled' && line['x-request-id'] !== 'round1',
        ),
      )
      tookMs = performance.now() - killedMs
      const again = await send(documentBody('round2'), 'round2')
      assert.equal(again.status, 200)
      assert.equal(cachedTokens(again), 128)
      const handled = (await standby.process.line(
        (line) => line.msg === 'Request handled' && line['x-request-id'] === 'round2',
        'line of round2',
      )) as unknown as { endpoint: { Address: string } }
      assert.equal(handled.endpoint.Address, served.endpoint.Address)
    } finally {
      clearInterval(load)
      await Promise.all(pending)
    }
    const limitMs = LEASE_MS + HEALTH_INTERVAL_MS
    console.log(
      `      ${sent} requests: ${[...statuses].map(([status, count]) => `${count} x ${status}`).join(', ')}; ` +
        `the standby answered after ${Math.round(tookMs)} ms of at most ${limitMs}`,
    )
    assert.deepEqual(
      [...statuses.keys()].filter((status) => status !== 200 && status !== 503),
      [],
    )
    assert.ok(tookMs < 10 * limitMs)
    assert.deepEqual(await leaders(), [standby])
  })
})
