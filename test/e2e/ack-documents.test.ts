import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { ApiServer, type AppliedObject } from '../discovery/kubernetes/api-server.ts'
import { documentManifests } from '../discovery/kubernetes/manifests/documents.ts'
import { documentBody, tokenizersDir } from '../fixtures.ts'
import { pod } from './cluster.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { cachedTokens, post } from './openai-client.ts'
import { eventually, Process } from './process.ts'

const ADDRESSES = ['127.0.22.1', '127.0.22.2', '127.0.22.3']
const PICKER_HOST = 'epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local'
const HANDLED =
  /\tRequest handled\t\{"x-request-id": "[^"]+", "model": "Qwen3-32B", "resolvedTargetModel": "Qwen3-32B", "criticality": "(Critical|Standard|Sheddable)", "targetModel": "Qwen3-32B", "endpoint": "\{NamespacedName:default\/qwen3-779c54544f-\w+ Address:([\d.]+) Labels:map\[app:qwen3 pod-template-hash:779c54544f\]\}"\}$/

interface Container {
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
}
interface Workload extends AppliedObject {
  readonly spec: {
    readonly replicas: number
    readonly template: { readonly spec: { readonly containers: readonly Container[] } }
  }
}

const objectsOf = (text: string) =>
  parseAllDocuments(text).map((document) => document.toJS() as AppliedObject)

/** The container of the only Deployment among the objects. */
function containerOf(objects: readonly AppliedObject[]): Container & { readonly replicas: number } {
  const deployment = objects.find(({ kind }) => kind === 'Deployment') as Workload
  return {
    ...deployment.spec.template.spec.containers[0]!,
    replicas: deployment.spec.replicas,
  }
}

for (const [document, topicIsExpanded] of [
  ['ack-precise-mode', true],
  ['ack-article', false],
] as const) {
  describe(`the manifests of ${document}.txt, as they stand`, function () {
    this.timeout(120_000)
    const api = new ApiServer()
    const manifests = documentManifests(document)
    const objects = [...manifests.values()].flatMap(objectsOf)
    const engines: Process[] = []
    let epp: Process
    let envoy: Envoy
    let metricsPort: number

    before(async function () {
      if (!envoyAvailable()) return this.skip()
      await api.start()
      api.apply(...objects)
      const { command, env, replicas } = containerOf(objects)
      assert.equal(replicas, ADDRESSES.length)
      // Started as deploy/ack/picker.yaml starts it, on ports that are free.
      const picker = containerOf(objectsOf(readFileSync('deploy/ack/picker.yaml', 'utf8')))
      epp = new Process(
        'epp',
        process.execPath,
        [
          'dist/main.js',
          ...picker.args!,
          ...['--kubeconfig', api.kubeconfigFile(), '--bind-address', '127.0.0.1'],
          ...['--grpc-port', '0', '--grpc-health-port', '0', '--metrics-port', '0'],
        ],
        { POD_NAMESPACE: 'envoy-gateway-system', POD_NAME: 'epp-0' },
      )
      const serving = await epp.line(({ msg }) => /\tServing\t/.test(msg!), 'line "Serving"')
      const ports = JSON.parse(serving.msg!.split('\t').at(-1)!) as Record<string, number>
      metricsPort = ports.metrics!
      for (const [i, address] of ADDRESSES.entries()) {
        const engine = new Process(
          `engine at ${address}`,
          process.execPath,
          [
            ...['dist/main.js', 'sim-engine', '--log-format', 'json'],
            ...['--resolve', `${PICKER_HOST}=127.0.0.1`, '--tokenizers-dir', tokenizersDir()],
            ...['--engine-version', '0.10.0', '--', ...command!],
          ],
          {
            POD_IP: address,
            ...Object.fromEntries(
              env!.flatMap(({ name, value }) => (value ? [[name, value]] : [])),
            ),
          },
        )
        engines.push(engine)
        await engine.line(({ msg }) => msg === 'Engine serving', 'line "Engine serving"')
        const labels = { app: 'qwen3', 'pod-template-hash': '779c54544f' }
        api.apply(pod(`qwen3-779c54544f-9c4v${i}`, address, { labels }))
      }
      envoy = await Envoy.start(ports.grpc!)
      await eventually('every endpoint is scraped', async () => {
        const states = (await page('/endpoints')).match(/"state": "scraped"/g)
        return states?.length === ADDRESSES.length
      })
      await eventually('the policy is in force', async () =>
        (await page('/config')).includes('InferenceTrafficPolicy default/inference-policy'),
      )
    })

    after(async () => {
      await envoy?.stop()
      await epp?.stop()
      for (const engine of engines) await engine.stop()
      await api.close()
    })

    const page = async (path: string) =>
      (await fetch(`http://127.0.0.1:${metricsPort}${path}`)).text()
    const sample = async (name: string) =>
      Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(await page('/metrics'))?.[1])

    it('send both rounds to one Address, as grep handled shows', async () => {
      const round1 = await post(`${envoy.url}/v1/chat/completions`, documentBody('round1'))
      assert.equal(round1.status, 200)
      if (topicIsExpanded) {
        await eventually('the events of round1 are applied', async () =>
          /"blocks": 3/.test(await page('/endpoints')),
        )
      }
      const round2 = await post(`${envoy.url}/v1/chat/completions`, documentBody('round2'))
      assert.equal(cachedTokens(round2), 128)
      const grepped = epp.lines.filter(({ msg }) => msg!.includes('handled'))
      assert.equal(grepped.length, 2)
      const addresses = grepped.map(({ msg }) => HANDLED.exec(msg!)?.[2] ?? msg)
      assert.equal(addresses[0], addresses[1])
      assert.ok(ADDRESSES.includes(addresses[0]!), addresses[0])
    })

    if (!topicIsExpanded) {
      it('lead to events under a topic that names no address, which is said', async () => {
        await eventually('the notice', async () =>
          /kv-topic: KV events under the topic "kv@\$\{POD_IP\}@Qwen3-32B" are dropped/.test(
            await page('/readyz?verbose'),
          ),
        )
      })
      return
    }

    it('with another blockSize in the policy are reported, with both values, everywhere', async () => {
      const policy = manifests
        .get('inference-policy.yaml')!
        .replace(/blockSize: 64/, 'blockSize: 16')
      api.apply(...objectsOf(policy))
      const said =
        /configured block size 16, but the events of 127\.0\.22\.\d:8000 say 64; 64 is used/
      await epp.line(({ msg }) => said.test(msg!), 'line about the block size')
      assert.match(await page('/readyz?verbose'), said)
      const mismatches =
        'epp_kv_hashing_mismatches\\{kind="block_size",pool="default/qwen-inference-pool"\\}'
      // Engines without events tell it by their metrics pages.
      await eventually(
        'all three engines differ',
        async () => (await sample(mismatches)) === engines.length,
      )
      const folder = mkdtempSync(join(tmpdir(), 'epp-ack-'))
      try {
        writeFileSync(join(folder, 'vllm.yaml'), manifests.get('vllm.yaml')!)
        writeFileSync(join(folder, 'policy.yaml'), policy)
        const { status, stdout } = spawnSync(process.execPath, ['dist/main.js', 'check', folder])
        assert.equal(status, 1)
        const lines = stdout.toString().trim().split('\n')
        const line = policy.split('\n').findIndex((each) => each.includes('blockSize')) + 1
        const at = lines.find((each) => each.includes(`policy.yaml:${line}:`))
        assert.match(at ?? stdout.toString(), /\b16\b.*\b64\b/)
      } finally {
        rmSync(folder, { recursive: true })
      }
    })
  })
}
