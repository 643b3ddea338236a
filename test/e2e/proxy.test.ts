import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generate } from 'selfsigned'
import { ApiServer } from '../discovery/kubernetes/api-server.ts'
import { documentBody } from '../fixtures.ts'
import { inferencePool, pod } from './cluster.ts'
import { Epp, startEngine } from './epp.ts'
import { eventually, type Process } from './process.ts'

const MODEL = 'Qwen3-32B'
const HOSTS = ['127.0.78.1', '127.0.78.2']
const PORT = 8000

describe('epp proxy', function () {
  this.timeout(60_000)
  const engines: Process[] = []
  let folder: string
  let epp: Epp | undefined
  let url: string

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'epp-proxy-'))
    for (const host of HOSTS) {
      const args = ['--host', host, '--port', String(PORT), '--served-model-name', MODEL]
      engines.push((await startEngine(args)).process)
    }
  })
  after(async () => {
    for (const engine of engines) await engine.stop()
    rmSync(folder, { recursive: true })
  })
  afterEach(async () => {
    await epp?.stop()
    epp = undefined
  })

  const start = async (...args: readonly string[]) => {
    epp = await Epp.start(
      ['--listen', '127.0.0.1:0', '--kv-events-bind', 'tcp://127.0.0.1:*', ...args],
      {},
      'proxy',
    )
    url = `http://127.0.0.1:${epp.ports.proxy}`
  }
  const all = HOSTS.flatMap((host) => ['--endpoint', `http://${host}:${PORT}`])
  const send = (headers: Readonly<Record<string, string>> = {}) =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: documentBody('round1'),
    })

  it('needs nothing but the addresses of the engines', async () => {
    await start(...all)
    const models = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] }
    assert.deepEqual(
      models.data.map(({ id }) => id),
      [MODEL],
    )
    const response = await send({ 'x-request-id': 'first' })
    assert.equal(response.status, 200)
    assert.equal(response.headers.get('x-request-id'), 'first')
    assert.equal(response.headers.get('x-epp-decision'), null)
    await response.text()
    const handled = await epp!.process.line(
      (line) => line.msg === 'Request handled' && line['x-request-id'] === 'first',
      'line of the request',
    )
    const decision = await epp!.json<{ endpoints: string[]; ended: string; status: number }>(
      '/decisions/first',
    )
    const { Address } = handled.endpoint as { Address: string }
    assert.equal(decision.endpoints[0], `${Address}:${PORT}`)
    assert.deepEqual([decision.ended, decision.status], ['completed', 200])
  })

  it('says in each response where it went, where that is asked for', async () => {
    await start(...all, '--decision-header')
    const response = await send()
    await response.text()
    assert.match(
      response.headers.get('x-epp-decision')!,
      /^endpoint=127\.0\.78\.[12]:8000; matched=0; prompt=\d+; reason="/,
    )
  })

  it('follows a file of endpoints', async () => {
    const file = join(folder, 'endpoints.yaml')
    const write = (hosts: readonly string[]) => {
      const endpoints = hosts.map((address, i) => ({ name: `e${i}`, address, port: PORT }))
      writeFileSync(`${file}.new`, JSON.stringify({ endpoints }))
      renameSync(`${file}.new`, file)
    }
    write([])
    await start('--endpoints-file', file)
    const none = await send()
    assert.equal(none.status, 503)
    assert.ok(none.headers.get('retry-after'))
    assert.equal(((await none.json()) as { error: { code: string } }).error.code, 'POOL_EMPTY')
    assert.equal((await fetch(`${url}/health`)).status, 503)
    write(HOSTS)
    await eventually('the file is read', async () => (await send()).status === 200 || undefined)
    assert.equal((await fetch(`${url}/health`)).status, 200)
  })

  it('follows a pool of a cluster, and its end', async () => {
    const api = new ApiServer()
    api.apply(inferencePool('qwen'), ...HOSTS.map((host, i) => pod(`p${i}`, host)))
    await api.start()
    try {
      await start('--kubeconfig', api.kubeconfigFile(), '--pool-name', 'qwen')
      await eventually('the pool is served', async () => (await send()).status === 200 || undefined)
      for (let i = 0; i < HOSTS.length; i++) api.remove('v1', 'Pod', `p${i}`)
      await eventually('its pods are gone', async () => (await send()).status === 503 || undefined)
    } finally {
      await epp?.stop()
      epp = undefined
      await api.close()
    }
  })

  it('admits those who have a key, and takes a changed file of keys over', async () => {
    const keys = join(folder, 'keys')
    writeFileSync(keys, '# of the first team\nsecret-one\n')
    await start(...all, '--api-keys-file', keys)
    const refused = await send()
    assert.equal(refused.status, 401)
    const { error } = (await refused.json()) as { error: { code: string } }
    assert.equal(error.code, 'invalid_api_key')
    assert.equal((await send({ authorization: 'Bearer secret-one' })).status, 200)
    writeFileSync(keys, 'secret-two\n')
    await eventually('the other key is known', async () =>
      (await send({ authorization: 'Bearer secret-two' })).status === 200 ? true : undefined,
    )
    assert.equal((await send({ authorization: 'Bearer secret-one' })).status, 401)
    assert.ok(!JSON.stringify(epp!.process.lines).includes('secret-'))
  })

  it('speaks TLS where it has a certificate', async () => {
    const { cert, private: key } = await generate([{ name: 'commonName', value: 'localhost' }])
    writeFileSync(join(folder, 'tls.crt'), cert)
    writeFileSync(join(folder, 'tls.key'), key)
    await start(...all, '--proxy-cert-path', folder)
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const path = `https://127.0.0.1:${epp!.ports.proxy}/v1/models`
      const sent = request(path, { ca: cert, checkServerIdentity: () => undefined }, (response) => {
        response.resume()
        response.once('end', () => resolve(response.statusCode))
      })
      sent.once('error', reject).end()
    })
    assert.equal(status, 200)
  })

  it('warns where strangers may reach it, and where it knows no server', async () => {
    await start('--listen', '127.0.0.1:0')
    const warnings = epp!.process.lines.filter(({ level }) => level === 'warn')
    assert.ok(
      warnings.some(({ msg }) => msg!.startsWith('no model server is known; give --endpoint')),
      JSON.stringify(warnings),
    )
    await epp!.stop()
    await start(...all, '--listen', '0.0.0.0:0')
    await epp!.process.line(
      ({ msg }) => /listens on 0\.0\.0\.0 without API keys/.test(msg ?? ''),
      'warning',
    )
  })

  it('ends with an error that names its flag when the port is taken', async () => {
    await start(...all)
    const taken = String(epp!.ports.proxy)
    await assert.rejects(
      Epp.start([...all, '--listen', taken, '--kv-events-bind', 'tcp://127.0.0.1:*'], {}, 'proxy'),
      new RegExp(`exit code 1[\\s\\S]*${taken}[\\s\\S]*--listen`),
    )
  })
})
