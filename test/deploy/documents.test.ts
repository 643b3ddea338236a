import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type Manifest, only, readManifests, run } from './tools.ts'

const POD_IP = '10.0.0.5'

/** A model server's command line as a real shell makes it: with a program in vLLM's place that prints its arguments. */
function commandLine(deployment: Manifest, namespace: string): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), 'epp-vllm-'))
  try {
    const program = join(folder, 'vllm')
    writeFileSync(
      program,
      `#!${process.execPath}\nconsole.log(JSON.stringify(process.argv.slice(2)))\n`,
    )
    chmodSync(program, 0o755)
    const { command, args = [], env } = deployment.spec.template.spec.containers[0]
    const fields: Readonly<Record<string, string>> = {
      'status.podIP': POD_IP,
      'metadata.namespace': namespace,
    }
    const environment = Object.fromEntries(
      env.map(({ name, value, valueFrom }: Manifest) => [
        name,
        value ?? fields[valueFrom.fieldRef?.fieldPath] ?? '',
      ]),
    )
    const [shell, ...rest] = [...command, ...args]
    const output = execFileSync(shell, rest, {
      encoding: 'utf8',
      env: { PATH: `${folder}${delimiter}${process.env.PATH}`, ...environment },
    })
    return JSON.parse(output) as string[]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const flag = (line: readonly string[], name: string) => {
  const [, inline] = line.find((each) => each.startsWith(`${name}=`))?.split('=') ?? []
  return inline ?? line[line.indexOf(name) + 1]!
}
const seedOf = (deployment: Manifest) =>
  deployment.spec.template.spec.containers[0].env.find(
    ({ name }: Manifest) => name === 'PYTHONHASHSEED',
  ).value

describe("the documents' manifests of deploy/", () => {
  for (const set of [
    {
      name: 'ack',
      engines: 'deploy/ack/vllm.yaml',
      pool: 'deploy/ack/inference-policy.yaml',
      picker: 'deploy/ack/picker.yaml',
      gateway: 'deploy/ack/inference-gateway.yaml',
      model: 'Qwen3-32B',
    },
    {
      name: 'llm-d',
      engines: 'deploy/llm-d/model-server.yaml',
      pool: 'deploy/llm-d/picker.yaml',
      picker: 'deploy/llm-d/picker.yaml',
      gateway: 'deploy/llm-d/gateway.yaml',
      model: 'Qwen/Qwen3-0.6B',
    },
  ]) {
    it(`${set.name}: engines, pool, picker and gateway mean each other`, () => {
      const engines = only(readManifests(set.engines), 'Deployment')
      const pool = only(readManifests(set.pool), 'InferencePool')
      const service = only(readManifests(set.picker), 'Service')
      const { namespace } = service.metadata

      const line = commandLine(engines, namespace)
      const events = JSON.parse(flag(line, '--kv-events-config')) as Record<string, unknown>
      assert.deepEqual(events, {
        enable_kv_cache_events: true,
        publisher: 'zmq',
        endpoint: `tcp://${service.metadata.name}.${namespace}.svc.cluster.local:5557`,
        topic: `kv@${POD_IP}@${set.model}`,
      })
      assert.ok(service.spec.ports.some(({ port }: Manifest) => port === 5557))
      assert.equal(flag(line, '--prefix-caching-hash-algo'), 'sha256_cbor_64bit')
      assert.equal(Number(flag(line, '--port')), pool.spec.targetPortNumber)

      const labels = engines.spec.template.metadata.labels
      for (const [label, value] of Object.entries(pool.spec.selector)) {
        assert.equal(labels[label], value)
      }
      const [{ backendRefs }] = only(readManifests(set.gateway), 'HTTPRoute').spec.rules
      assert.deepEqual(backendRefs, [
        {
          ...{ name: pool.metadata.name, kind: 'InferencePool' },
          group: pool.apiVersion.split('/')[0],
        },
      ])
      const [{ name }] = only(readManifests(set.gateway), 'HTTPRoute').spec.parentRefs
      assert.equal(name, only(readManifests(set.gateway), 'Gateway').metadata.name)
    })
  }

  it('ack: the policy says what the engines say', () => {
    const engines = only(readManifests('deploy/ack/vllm.yaml'), 'Deployment')
    const { spec } = only(
      readManifests('deploy/ack/inference-policy.yaml'),
      'InferenceTrafficPolicy',
    )
    const { blockSize, hashSeed } =
      spec.profile.single.trafficPolicy.prefixCache.trackingConfig.indexerConfig
        .tokenProcessorConfig
    assert.equal(String(blockSize), flag(commandLine(engines, 'default'), '--block-size'))
    assert.equal(String(hashSeed), seedOf(engines))
    assert.equal(spec.poolRef.name, 'qwen-inference-pool')
  })

  for (const [folder, namespace] of [
    ['deploy/ack', 'default'],
    ['deploy/llm-d', 'llm-d-precise'],
  ] as const) {
    it(`epp check ${folder} finds nothing wrong`, () => {
      const { status, stdout, stderr } = run(process.execPath, [
        ...['--import', 'tsx', 'src/main.ts', 'check', '--strict', folder, '-n', namespace],
      ])
      assert.equal(status, 0, `${stdout}${stderr}`)
      assert.match(stdout, /: valid \(\d+ objects, 1 InferencePool, 1 vLLM container, /)
    })
  }

  it('a topic inside single quotes is what the test would find', () => {
    const engines = only(readManifests('deploy/ack/vllm.yaml'), 'Deployment')
    const container = engines.spec.template.spec.containers[0]
    const quoted = container.command[2]
      .replace('"{', "'{")
      .replace('}"', "}'")
      .replaceAll('\\"', '"')
    container.command = ['sh', '-c', quoted]
    const { topic } = JSON.parse(flag(commandLine(engines, 'default'), '--kv-events-config'))
    // biome-ignore lint/suspicious/noTemplateCurlyInString: what the shell leaves as it is
    assert.equal(topic, 'kv@${POD_IP}@Qwen3-32B')
  })
})
