import assert from 'node:assert/strict'
import { ApiServer } from '../discovery/kubernetes/api-server.ts'
import { documentBody, tokenizersDir } from '../fixtures.ts'
import { type EndpointPage, inferencePool, pod } from './cluster.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { cachedTokens, post } from './openai-client.ts'
import { eventually, type Process } from './process.ts'

const ADDRESSES = ['127.0.25.1', '127.0.25.2']

describe('a picker that is started anew, engines that keep their KV events', function () {
  this.timeout(120_000)
  const api = new ApiServer()
  const engines: Process[] = []
  let epp: Epp
  let envoy: Envoy

  const startPicker = () =>
    Epp.start([
      ...['--kubeconfig', api.kubeconfigFile(), '--pool-name', 'qwen'],
      ...['--kv-events-dial', '--kv-events-replay', '--tokenizers-dir', tokenizersDir()],
      ...['--config-file', 'config/scheduler-profiles.yaml'],
    ])

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    await api.start()
    api.apply(inferencePool('qwen'), ...ADDRESSES.map((address, i) => pod(`qwen3-${i}`, address)))
    for (const address of ADDRESSES) {
      const events = {
        enable_kv_cache_events: true,
        publisher: 'zmq',
        endpoint: 'tcp://*:5557',
        replay_endpoint: `tcp://${address}:5558`,
        topic: `kv@${address}@Qwen3-32B`,
      }
      const engine = await startEngine([
        ...['--host', address, '--port', '8000', '--tokenizers-dir', tokenizersDir()],
        ...['--served-model-name', 'Qwen3-32B', '--block-size', '64'],
        ...['--kv-events-config', JSON.stringify(events)],
      ])
      engines.push(engine.process)
    }
  })

  after(async () => {
    await envoy?.stop()
    await epp?.stop()
    for (const engine of engines) await engine.stop()
    await api.close()
  })

  const endpoints = () => epp.json<EndpointPage[]>('/endpoints')

  it('knows what they hold before the first request, and says how far it is', async () => {
    epp = await startPicker()
    envoy = await Envoy.start(epp.ports.grpc)
    const first = await post(`${envoy.url}/v1/chat/completions`, documentBody('round1'))
    assert.equal(first.status, 200)
    await eventually('the events of round1 are applied', async () =>
      (await endpoints()).some(({ blocks }) => blocks >= 3),
    )
    const holder = (await endpoints()).find(({ blocks }) => blocks >= 3)!.address
    await envoy.stop()
    assert.equal(await epp.stop(), 0)

    epp = await startPicker()
    const startedMs = performance.now()
    const page = await eventually('every engine has answered', async () => {
      const found = await endpoints()
      return found.every(({ coverage }) => coverage === 'complete') ? found : undefined
    })
    console.log(
      `      from the start to a whole index: ${Math.round(performance.now() - startedMs)} ms`,
    )
    assert.ok(page.find(({ address }) => address === holder)!.blocks >= 3)
    // A tokenizer that was just read may take too long for its first prompt on a busy machine.
    await eventually('token ids are exact', async () => {
      const response = await fetch(`http://127.0.0.1:${epp.ports.metrics}/explain`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: documentBody('round2'),
      })
      const { promptTokens } = (await response.json()) as { promptTokens?: { exact: boolean } }
      return promptTokens?.exact
    })
    envoy = await Envoy.start(epp.ports.grpc)
    const second = await post(`${envoy.url}/v1/chat/completions`, documentBody('round2'), {
      'x-request-id': 'round2',
    })
    assert.equal(cachedTokens(second), 128)
    const decision = await epp.json<{
      predictedCachedTokens: number
      endpoints: string[]
      indexCoverage: unknown
    }>('/decisions/round2')
    assert.equal(decision.predictedCachedTokens, 128)
    assert.deepEqual(decision.endpoints, [holder])
    assert.deepEqual(decision.indexCoverage, { tracked: 2, endpoints: 2, source: 'tracked' })
  })
})
