import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { ApiServer, type AppliedObject } from '../discovery/kubernetes/api-server.ts'
import { Gateway } from '../extproc/client.ts'
import { tokenizersDir } from '../fixtures.ts'
import { POOL_V1ALPHA2, pod } from './cluster.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { post } from './openai-client.ts'
import { eventually, Process } from './process.ts'

const NAMESPACE = 'llm-d-precise'
const RELEASE = 'gaie-kv-events'
const MODEL = 'Qwen/Qwen3-0.6B'
const ADDRESSES = ['127.0.23.1', '127.0.23.2']
const CONFIG_FILE = 'prefix-cache-tracking-config.yaml'
/** Given last, so that they win: the charts' own ports may be taken on this machine. */
const FREE_PORTS = ['--grpc-port=0', '--grpc-health-port=0', '--metrics-port=0']

interface Container {
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
}

const containerOf = (file: string): Container => {
  const deployment = parseAllDocuments(readFileSync(file, 'utf8'))
    .map((document) => document.toJS())
    .find(({ kind }) => kind === 'Deployment')
  return deployment.spec.template.spec.containers[0]
}

/** What GIE's chart `inferencepool` v0.5.1 renders for deploy/llm-d/values-gie.yaml. */
const GIE_ARGS = [
  ...['-poolName', RELEASE, '-poolNamespace', NAMESPACE, '--v', '4', '--grpcPort', '9002'],
  ...['-grpcHealthPort', '9003', '-metricsPort', '9090', '-configFile', `config/${CONFIG_FILE}`],
  ...['--enablePprof=true', '--modelServerMetricsPath=/metrics', '--modelServerMetricsScheme=http'],
  '--modelServerMetricsHttpsInsecureSkipVerify=true',
]
/** What llm-d-router's chart renders, with its default values. */
const LLM_D_ARGS = [
  ...['--pool-name', RELEASE, '--pool-namespace', NAMESPACE],
  ...['--pool-group', 'inference.networking.x-k8s.io', '--zap-encoder', 'json'],
  ...['--config-file', `config/${CONFIG_FILE}`, '--v', '4', '--tracing=false'],
]

for (const [chart, args, probes] of [
  ["GIE's chart v0.5.1", GIE_ARGS, ['inference-extension']],
  ["llm-d's chart", LLM_D_ARGS, ['liveness', 'readiness']],
  ['our chart', containerOf('deploy/llm-d/picker.yaml').args!, ['liveness', 'readiness']],
] as const) {
  describe(`llm-d's quickstart, started as ${chart} does`, function () {
    this.timeout(120_000)
    const folder = mkdtempSync(join(tmpdir(), 'epp-quickstart-'))
    const api = new ApiServer()
    const engines: Process[] = []
    let epp: Process
    let envoy: Envoy
    let ports: Record<string, number>

    before(async function () {
      if (!envoyAvailable()) return this.skip()
      await api.start()
      api.apply({
        apiVersion: POOL_V1ALPHA2,
        kind: 'InferencePool',
        metadata: { name: RELEASE, namespace: NAMESPACE },
        spec: {
          targetPortNumber: 8000,
          selector: { 'llm-d.ai/inferenceServing': 'true' },
          extensionRef: { name: `${RELEASE}-epp` },
        },
      } as AppliedObject)
      mkdirSync(join(folder, 'config'))
      const values = parse(readFileSync('deploy/llm-d/values-gie.yaml', 'utf8'))
      const profile: string = values.inferenceExtension.pluginsCustomConfig[CONFIG_FILE]
      // A beat each 50 ms instead of each minute.
      writeFileSync(
        join(folder, 'config', CONFIG_FILE),
        profile.replace('metricsLoggingInterval: 60000000000', 'metricsLoggingInterval: 50000000'),
      )
      epp = new Process(
        'epp',
        process.execPath,
        [
          resolve('dist/main.js'),
          ...args.map((arg) =>
            arg.replace('/config/scheduler-profiles.yaml', `config/${CONFIG_FILE}`),
          ),
          ...FREE_PORTS,
          ...(chart === 'our chart' ? [] : ['--log-format=text']),
        ],
        { KUBECONFIG: api.kubeconfigFile(), HF_TOKEN: 'none', NAMESPACE },
        folder,
      )
      const serving = await epp.line(({ msg }) => /\tServing\t/.test(msg!), 'line "Serving"')
      ports = JSON.parse(serving.msg!.split('\t').at(-1)!) as Record<string, number>
      const { command, env } = containerOf('deploy/llm-d/model-server.yaml')
      for (const [i, address] of ADDRESSES.entries()) {
        const engine = new Process(
          `engine at ${address}`,
          process.execPath,
          [
            ...['dist/main.js', 'sim-engine', '--log-format', 'json', '--engine-version', '0.10.0'],
            ...['--resolve', `${RELEASE}-epp.${NAMESPACE}.svc.cluster.local=127.0.0.1`],
            ...['--tokenizers-dir', tokenizersDir(), '--', ...command!],
          ],
          {
            ...Object.fromEntries(
              env!.flatMap(({ name, value }) => (value ? [[name, value]] : [])),
            ),
            ...{ POD_IP: address, NAMESPACE },
          },
        )
        engines.push(engine)
        await engine.line(({ msg }) => msg === 'Engine serving', 'line "Engine serving"')
        const labels = { 'llm-d.ai/inferenceServing': 'true', 'llm-d.ai/role': 'decode' }
        const name = `ms-kv-events-llm-d-modelservice-decode-b874d48d9-${i}`
        api.apply(pod(name, address, { labels, namespace: NAMESPACE }))
      }
      envoy = await Envoy.start(ports.grpc!)
      await eventually('every endpoint is scraped', async () => {
        const states = (await page('/endpoints')).match(/"state": "scraped"/g)
        return states?.length === ADDRESSES.length
      })
    })

    after(async () => {
      await envoy?.stop()
      await epp?.stop()
      for (const engine of engines) await engine.stop()
      await api.close()
      rmSync(folder, { recursive: true })
    })

    const page = async (path: string) =>
      (await fetch(`http://127.0.0.1:${ports.metrics}${path}`)).text()
    const grep = (text: string) =>
      epp.lines.map(({ msg }) => msg!).filter((line) => line.includes(text))

    it('passes its probes', async () => {
      const health = new Gateway(`127.0.0.1:${ports.health}`)
      try {
        for (const service of probes) assert.equal(await health.check(service), 'SERVING', service)
      } finally {
        health.close()
      }
    })

    it('greps null, then a score, then the beat', async () => {
      const body = JSON.stringify({
        model: MODEL,
        prompt: `Hello, how are you? ${'I am fine. '.repeat(50)}`,
        max_tokens: 1,
      })
      const send = (id: string) => post(`${envoy.url}/v1/completions`, body, { 'x-request-id': id })
      const first = await send('first')
      const blocks = Math.floor((first.usage!.prompt_tokens - 1) / 64)
      assert.ok(blocks >= 2)
      await eventually('the events are applied', async () =>
        new RegExp(`"blocks": ${Math.floor(first.usage!.prompt_tokens / 64)}\\b`).test(
          await page('/endpoints'),
        ),
      )
      await send('second')
      const scores = await eventually('both are logged', () => {
        const lines = grep('Got pod scores')
        return lines.length === 2 ? lines : undefined
      })
      const fields = (id: string) =>
        `{"x-request-id": "${id}", "model": "${MODEL}", "resolvedTargetModel": "${MODEL}", "criticality": "Standard", "scores": `
      assert.ok(scores[0]!.endsWith(`${fields('first')}null}`), scores[0])
      assert.ok(scores[1]!.includes(fields('second')), scores[1])
      assert.match(scores[1]!, new RegExp(`\\{"127\\.0\\.23\\.[12]":${blocks}\\}\\}$`))
      const beat = await eventually('a beat tells both lookups', () =>
        grep('metrics beat').find((line) => line.includes('"lookups": 2')),
      )
      for (const field of ['admissions', 'evictions', 'hits', 'latency_count', 'latency_sum']) {
        assert.match(beat, new RegExp(`"${field}": [\\d.e-]+`))
      }
      assert.match(beat, /"latency_avg": [\d.e-]+/)
    })
  })
}
