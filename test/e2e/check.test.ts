import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode } from '@msgpack/msgpack'
import { Subscriber } from 'zeromq'
import { createEngineBlockHasher } from '../../src/kvcache/hashing/engine-hash.ts'
import { documentCommand, documentManifests } from '../discovery/kubernetes/manifests/documents.ts'
import { documentBody, tokenizersDir } from '../fixtures.ts'
import { startEngine } from './epp.ts'

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
    assert.match(stdout, /blockSize: 64\n +hashSeed: "42"\n/)
    assert.equal(epp(['--strict', '-'], stdout).status, 0)
    const pool = epp(
      ['--effective', '-'],
      'apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: { name: p }\nspec: { selector: { matchLabels: { a: b } }, targetPorts: [{ number: 1 }] }\n',
    )
    assert.match(pool.stdout, /^# InferencePool default\/p: no InferenceTrafficPolicy\n/)
    assert.doesNotMatch(pool.stdout, /prefix-cache-scorer/)
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
  const SERVICE = 'epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local'

  it('serves the model and sends its events as vLLM 0.10.0 would', async () => {
    const socket = new Subscriber()
    await socket.bind(`tcp://${ADDRESS}:5557`)
    socket.subscribe('kv@')
    const engine = await startEngine(
      [
        ...['--tokenizers-dir', tokenizersDir(), '--resolve', `${SERVICE}=${ADDRESS}`],
        ...['--', 'sh', '-c', documentCommand('ack-precise-mode')],
      ],
      { POD_IP: ADDRESS, PYTHONHASHSEED: '42' },
    )
    try {
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
      const answer = await fetch(`${url}/chat/completions`, {
        ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
        body: documentBody('round1'),
      })
      assert.equal(answer.status, 200)
      await answer.text()
      const [topic, , payload] = await socket.receive()
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
    } finally {
      socket.close()
      assert.equal(await engine.process.stop(), 0)
    }
  })
})
