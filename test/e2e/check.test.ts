import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { decode } from '@msgpack/msgpack'
import { Subscriber } from 'zeromq'
import { readDocuments } from '../../src/config/document.ts'
import { createEngineBlockHasher } from '../../src/kvcache/hashing/engine-hash.ts'
import { documentCommand, documentManifests } from '../discovery/kubernetes/manifests/documents.ts'
import { documentBody, tokenizersDir } from '../fixtures.ts'
import { startEngine } from './epp.ts'
import { eventually } from './process.ts'

/** Runs the built command to its end. */
function epp(args: readonly string[], input = '') {
  return spawnSync(process.execPath, ['dist/main.js', 'check', ...args], {
    ...{ encoding: 'utf8', input, timeout: 30_000 },
  })
}

describe('epp check on manifests', function () {
  this.timeout(60_000)
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-check-'))
    for (const name of ['ack-precise-mode', 'ack-article'] as const) {
      mkdirSync(join(folder, name))
      for (const [file, text] of documentManifests(name)) {
        writeFileSync(join(folder, name, file), text)
      }
    }
  })
  after(() => rmSync(folder, { recursive: true }))

  it("finds the documents' folder valid, and says what it saw", () => {
    const path = join(folder, 'ack-precise-mode')
    const { stdout, status } = epp([path])
    assert.equal(
      stdout,
      `${path}: valid (10 objects, 1 InferencePool, 1 vLLM container, 0 configurations)\n`,
    )
    assert.equal(status, 0)
  })

  it("exits 1 with the article's slip, as text and as JSON", () => {
    const path = join(folder, 'ack-article')
    const { stdout, status } = epp([path])
    assert.equal(status, 1)
    assert.match(stdout, /^error: .*vllm\.yaml:32:189 {2}.* inside single quotes.*\n$/)
    const json = JSON.parse(epp(['--json', path]).stdout) as {
      valid: boolean
      problems: { line: number; severity: string }[]
    }
    assert.equal(json.valid, false)
    assert.deepEqual(
      json.problems.map(({ line, severity }) => [line, severity]),
      [[32, 'error']],
    )
  })

  it('reads standard input, and turns warnings into errors', () => {
    const policy = documentManifests('ack-precise-mode')
      .get('inference-policy.yaml')!
      .replace('mode: tracking', 'mode: tracking\n          ttl: 2s')
    const lax = epp(['-'], policy)
    assert.equal(lax.status, 0)
    assert.match(lax.stdout, /^warning: stdin:24:11 .*ttl: is not known here/)
    assert.equal(epp(['--strict', '-'], policy).status, 1)
  })

  it('prints the configuration in force, which is valid itself', () => {
    const { stdout, status } = epp(['--effective', join(folder, 'ack-precise-mode')])
    assert.equal(status, 0)
    assert.match(stdout, /^# InferencePool default\/qwen-inference-pool: InferenceTrafficPolicy /)
    assert.match(
      stdout,
      /blockSize: 64 +# policy default\/\S+\n +hashSeed: "42" +# policy default\//,
    )
    assert.match(stdout, /speculativeTTL: 2s +# default\n/)
    assert.equal(epp(['--strict', '-'], stdout).status, 0)
    const pool = epp(
      ['--effective', '-'],
      'apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: { name: p }\nspec: { selector: { matchLabels: { a: b } }, targetPorts: [{ number: 1 }] }\n',
    )
    assert.match(pool.stdout, /^# InferencePool default\/p: no InferenceTrafficPolicy\n/)
    assert.doesNotMatch(pool.stdout, /prefix-cache-scorer/)
    assert.match(pool.stdout, /type: queue-scorer +# default\n/)
  })

  it('says in which line of a ConfigMap each value stands, without colour in a pipe', () => {
    const file = join(folder, 'map.yaml')
    writeFileSync(
      file,
      [
        'apiVersion: v1',
        'kind: ConfigMap',
        'metadata: { name: epp }',
        'data:',
        '  profile.yaml: |',
        '    kind: EndpointPickerConfig',
        '    plugins:',
        '      - type: queue-depth-scorer',
        '      - type: active-request-scorer',
        '        parameters: { idleThreshold: 9 }',
      ].join('\n'),
    )
    const { stdout, stderr, status } = epp(['--effective', file])
    assert.equal(status, 0)
    assert.match(stderr, /^warning: \S+map\.yaml:8:15 .* "queue-depth-scorer" is an old name/)
    const place = file.replaceAll('.', '\\.')
    assert.match(stdout, new RegExp(`queue-scorer +# alias of queue-depth-scorer, ${place}:8\n`))
    assert.match(stdout, new RegExp(`idleThreshold: 9 +# ${place}:10\n`))
    assert.match(stdout, /type: max-score-picker +# stands in\n/)
    assert.ok(!stdout.includes('\u001b'), 'no colour')
  })

  it('finds what has no effect, and metrics that cannot be read, with their lines', () => {
    const text = [
      'plugins:',
      '  - type: core-metrics-extractor',
      '    parameters:',
      '      defaultEngine: vlm',
      '  - type: queue-scorer',
      '  - type: random-picker',
    ].join('\n')
    const { stdout, status } = epp(['-'], text)
    assert.equal(status, 1)
    const [extractor, picker, ...others] = stdout.trimEnd().split('\n')
    assert.match(
      extractor!,
      /^error: stdin:4:7 {2}plugins\[0\]\.parameters: the default engine "vlm" is not among vllm, sglang/,
    )
    assert.match(
      picker!,
      /^warning: stdin:6:5 {2}plugins\[2\]: "random-picker" picks without regard to scores, so that "queue-scorer" cannot influence/,
    )
    assert.deepEqual(others, [])
    assert.equal(epp(['-'], text.replace('vlm', 'vllm')).status, 0)
    assert.equal(epp(['--strict', '-'], text.replace('vlm', 'vllm')).status, 1)
  })

  it('reads a running cluster, page by page, and says what it may not read', async () => {
    const lists = new Map<string, object[]>()
    for (const text of documentManifests('ack-article').values()) {
      for (const { value } of readDocuments(text)) {
        const { apiVersion, kind, ...object } = value as { apiVersion: string; kind: string }
        const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
        const plural = kind.endsWith('y') ? `${kind.slice(0, -1)}ies` : `${kind}s`
        const path = `${root}/namespaces/default/${plural.toLowerCase()}`
        lists.set(path, [...(lists.get(path) ?? []), object])
      }
    }
    const asked: string[] = []
    const server = createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url!, 'http://x')
      asked.push(pathname)
      const items = lists.get(pathname)
      const forbidden = pathname.endsWith('/default/configmaps')
      response.writeHead(forbidden ? 403 : items === undefined ? 404 : 200, {
        'content-type': 'application/json',
      })
      const page = Number(searchParams.get('continue') ?? 0)
      const more = items !== undefined && page + 1 < items.length ? `${page + 1}` : ''
      response.end(
        JSON.stringify({
          ...{ kind: 'List', items: items?.slice(page, page + 1) },
          ...{ metadata: { resourceVersion: '1', continue: more }, message: 'not for you' },
        }),
      )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const kubeconfig = join(folder, 'kubeconfig')
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        'current-context': 'c',
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
        clusters: [{ name: 'c', cluster: { server: `http://127.0.0.1:${port}` } }],
        users: [{ name: 'u', user: {} }],
      }),
    )
    try {
      const args = ['--cluster', '--pool-name', 'other', '--kubeconfig', kubeconfig]
      const { code, stdout, stderr } = await promisify(execFile)(process.execPath, [
        ...['dist/main.js', 'check', ...args],
      ]).then(
        () => assert.fail('exit code 0'),
        (error: { code: number; stdout: string; stderr: string }) => error,
      )
      assert.equal(stderr, '')
      assert.equal(code, 1)
      const lines = stdout.trimEnd().split('\n')
      assert.equal(lines.length, 3, stdout)
      assert.match(
        lines[0]!,
        /^error: cluster:1:1 {2}there is no InferencePool other in namespace "default"$/,
      )
      assert.match(
        lines[1]!,
        /^error: cluster\/default\/ConfigMap:1:1 {2}cannot be read: 403 Forbidden: not for you$/,
      )
      assert.match(
        lines[2]!,
        /^error: cluster\/default\/Deployment\/qwen3:1:1 .* inside single quotes/,
      )
      assert.ok(asked.includes('/api/v1/namespaces/envoy-gateway-system/services'))
    } finally {
      server.close()
    }
  })

  it('says what it cannot read', () => {
    const { stderr, status } = epp([join(folder, 'nowhere')])
    assert.equal(status, 1)
    assert.match(stderr, /nowhere cannot be read: ENOENT/)
    assert.match(epp([]).stderr, /nothing to check; give a file or a folder/)
  })
})

describe("epp sim-engine with the documents' command, word for word", function () {
  this.timeout(60_000)
  const ADDRESS = '127.0.0.9'
  const TIMEOUT_MS = 20_000
  const SERVICE = 'epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local'

  it('serves the model and sends its events as vLLM 0.10.0 would', async () => {
    const socket = new Subscriber({ receiveTimeout: TIMEOUT_MS })
    await socket.bind(`tcp://${ADDRESS}:5557`)
    socket.subscribe('kv@')
    // A socket that binds tells a new peer its subscription while it receives.
    let received: readonly Buffer[] | undefined
    const receiving = socket.receive().then((message) => {
      received = message
    })
    let engine: Awaited<ReturnType<typeof startEngine>> | undefined
    try {
      engine = await startEngine(
        [
          ...['--tokenizers-dir', tokenizersDir(), '--resolve', `${SERVICE}=${ADDRESS}`],
          ...['--', 'sh', '-c', documentCommand('ack-precise-mode')],
        ],
        { POD_IP: ADDRESS, PYTHONHASHSEED: '42' },
      )
      assert.equal(engine.port, 8000)
      assert.deepEqual(
        engine.process.logged('Flags without effect')[0]?.flags,
        [...['--trust-remote-code', '--gpu-memory-utilization', '--enforce-eager']].join(' '),
      )
      const url = `http://${ADDRESS}:8000/v1`
      const models = (await (await fetch(`${url}/models`)).json()) as { data: { id: string }[] }
      assert.deepEqual(
        models.data.map(({ id }) => id),
        ['Qwen3-32B'],
      )
      // The first prompts may come before the subscription.
      let prompts = 0
      const [topic, , payload] = await eventually('an event', async () => {
        const answer = await fetch(`${url}/chat/completions`, {
          ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
          body: documentBody('round1').replace('Hi, here', `Hi ${prompts++}, here`),
        })
        assert.equal(answer.status, 200)
        await answer.text()
        return received
      })
      assert.equal(topic!.toString(), `kv@${ADDRESS}@Qwen3-32B`)
      const [, [event]] = decode(payload!, { useBigInt64: true }) as [
        unknown,
        [[string, bigint[], null, bigint[], bigint]],
      ]
      const [type, hashes, , tokens, blockTokens] = event
      assert.equal(type, 'BlockStored')
      assert.equal(Number(blockTokens), 64)
      const hasher = createEngineBlockHasher('sha256_cbor_64bit', '42')
      const first = hasher.next(hasher.root, tokens.slice(0, 64).map(Number), null)
      assert.equal(hashes[0], first.published)
      assert.equal(await engine.process.stop(), 0)
    } finally {
      socket.close()
      await Promise.allSettled([receiving])
      await engine?.process.stop()
    }
  })
})
