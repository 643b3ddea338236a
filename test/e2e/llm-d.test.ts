import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tokenizersDir } from '../fixtures.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { post } from './openai-client.ts'
import { eventually, type Process } from './process.ts'

const MODEL = 'Qwen/Qwen3-0.6B'
const ADDRESSES = ['127.0.0.5', '127.0.0.6']
const BLOCK_TOKENS = 64
/** Above the range from which the system takes ports for outgoing connections. */
const EVENT_PORT = 61557

const PROFILE = `apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: single-profile-handler
  - type: precise-prefix-cache-scorer
    parameters:
      tokenProcessorConfig: { blockSize: 64, hashSeed: "42" }
      indexerConfig: { kvBlockIndexConfig: { enableMetrics: true, metricsLoggingInterval: 50000000 } }
      kvEventsConfig: { discoverPods: true, podDiscoveryConfig: { socketPort: ${EVENT_PORT} } }
      speculativeIndexing: false
  - type: kv-cache-utilization-scorer
  - type: queue-scorer
  - type: max-score-picker
schedulingProfiles:
  - name: default
    plugins:
      - { pluginRef: precise-prefix-cache-scorer, weight: 2.0 }
      - { pluginRef: kv-cache-utilization-scorer, weight: 1.0 }
      - { pluginRef: queue-scorer, weight: 1.0 }
      - { pluginRef: max-score-picker }
`

describe("llm-d's scenario: endpoints from a file, the picker dials them", function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'epp-llm-d-'))
  const engines: Process[] = []
  let epp: Epp
  let envoy: Envoy

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    writeFileSync(join(folder, 'profile.yaml'), PROFILE)
    writeFileSync(
      join(folder, 'endpoints.yaml'),
      JSON.stringify({
        endpoints: ADDRESSES.map((address, i) => ({ name: `decode-${i}`, address, port: '8000' })),
      }),
    )
    for (const started of await Promise.all(
      ADDRESSES.map((address) =>
        startEngine(
          [
            ...['--host', address, '--port', '8000', '--served-model-name', MODEL],
            ...['--block-size', `${BLOCK_TOKENS}`, '--tokenizers-dir', tokenizersDir()],
            ...['--prefix-caching-hash-algo', 'sha256_cbor', '--engine-version', '0.32.0'],
            '--kv-events-config',
            JSON.stringify({
              enable_kv_cache_events: true,
              publisher: 'zmq',
              endpoint: `tcp://*:${EVENT_PORT}`,
              topic: `kv@${address}:8000@${MODEL}`,
            }),
          ],
          { PYTHONHASHSEED: '42' },
        ),
      ),
    )) {
      engines.push(started.process)
    }
    epp = await Epp.start([
      ...['--config-file', join(folder, 'profile.yaml')],
      ...['--endpoints-file', join(folder, 'endpoints.yaml')],
      ...['--tokenizers-dir', tokenizersDir()],
    ])
    envoy = await Envoy.start(epp.ports.grpc)
  })

  after(async () => {
    await envoy?.stop()
    await epp?.stop()
    for (const engine of engines) await engine.stop()
    rmSync(folder, { recursive: true })
  })

  const scores = async (id: string) =>
    (
      await epp.process.line(
        (line) => line.msg === 'Got pod scores' && line['x-request-id'] === id,
        `line "Got pod scores" of ${id}`,
      )
    ).scores

  it('scores null for the first prompt, the cached blocks for the second', async () => {
    const body = JSON.stringify({
      model: MODEL,
      prompt: `Hello, how are you? ${'I am fine. '.repeat(50)}`,
      max_tokens: 1,
    })
    const send = (id: string) => post(`${envoy.url}/v1/completions`, body, { 'x-request-id': id })
    const first = await send('first')
    const blocks = Math.floor((first.usage!.prompt_tokens - 1) / BLOCK_TOKENS)
    assert.ok(blocks >= 1)
    assert.equal(await scores('first'), null)
    const holder = await eventually('the events are applied', async () =>
      (
        await epp.json<{ blocks: number; address: string; publishers: { socket: string }[] }[]>(
          '/endpoints',
        )
      ).find((endpoint) => endpoint.blocks >= blocks),
    )
    assert.equal(holder.publishers[0]!.socket, 'dialled')
    const second = await send('second')
    assert.deepEqual(await scores('second'), { [holder.address.split(':')[0]!]: blocks })
    assert.equal(second.usage!.prompt_tokens_details!.cached_tokens, blocks * BLOCK_TOKENS)

    const beat = await epp.process.line(
      (line) => line.msg === 'metrics beat' && line.lookups === 2,
      'metrics beat with both lookups',
    )
    assert.equal(beat.logger, 'metrics')
    assert.equal(beat.hits, 1)
    assert.equal(beat.admissions, holder.blocks)
    assert.equal(beat.evictions, 0)
    assert.equal(beat.latency_count, 2)
    assert.equal(beat.latency_avg, Number(beat.latency_sum) / 2)
  })
})
