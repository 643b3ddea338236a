import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { request as httpsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { generate } from 'selfsigned'
import { FileWatch, readText } from '../../src/config/file-watch.ts'
import type { GatewayOptions } from '../../src/gateway/gateway.ts'
import { text } from '../datalayer/engine.ts'
import { until } from '../datalayer/telemetry.ts'
import { ask, COMPLETION, errorOf, isCode, RawClient, TestProxy } from './setup.ts'

const FILE_BYTES = 1024 * 1024

describe('access to the proxy', function () {
  this.timeout(60_000)
  let proxy: TestProxy | undefined
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-proxy-'))
  })
  afterEach(async () => {
    await proxy?.stop()
    proxy = undefined
    rmSync(folder, { recursive: true })
  })
  const replace = (name: string, content: string) => {
    writeFileSync(join(folder, `${name}.new`), content)
    renameSync(join(folder, `${name}.new`), join(folder, name))
  }

  describe('with API keys', () => {
    const withKeys = (content: string | undefined): Partial<GatewayOptions> => {
      if (content !== undefined) replace('keys', content)
      return {
        apiKeys: {
          file: join(folder, 'keys'),
          readText: (path) => readText(path, FILE_BYTES),
          watchFile: (path, listener, options) =>
            new FileWatch(path, listener, { ...options, pollMs: 50 }),
        },
      }
    }
    const status = async (headers: Record<string, string>) =>
      (await ask(proxy!.port, { headers })).status

    it('takes those of the file, by either header, and nobody else', async () => {
      proxy = await TestProxy.start([text('ok')], withKeys('# ours\nalpha # first\n\n  beta\n'))
      const cases: readonly [number, Record<string, string>][] = [
        [200, { authorization: 'Bearer alpha' }],
        [200, { authorization: 'bearer beta' }],
        [200, { 'x-api-key': 'beta' }],
        [401, {}],
        [401, { authorization: 'Bearer gamma' }],
        [401, { authorization: 'Bearer ' }],
        [401, { authorization: 'Bearer alpha # first' }],
        [401, { authorization: 'Basic alpha' }],
        [401, { authorization: 'alpha' }],
        [401, { authorization: 'Bearer gamma', 'x-api-key': 'alpha' }],
      ]
      for (const [expected, headers] of cases) {
        assert.equal(await status(headers), expected, JSON.stringify(headers))
      }
      const refused = await ask(proxy.port)
      assert.deepEqual(errorOf(refused), {
        message: 'no valid API key; send one that this proxy knows as "authorization: Bearer KEY"',
        type: 'invalid_request_error',
        code: 'invalid_api_key',
      })
      assert.equal(proxy.engines[0]!.requests, 3)
      assert.equal((await ask(proxy.port, { method: 'GET', path: '/v1/models' })).status, 401)
      assert.equal((await ask(proxy.port, { method: 'GET', path: '/health' })).status, 200)
    })

    it('keeps them from the engines, which are sent what clients bring where there are none', async () => {
      const seen: (string | undefined)[] = []
      const tell = text('ok')
      const note: Parameters<typeof TestProxy.start>[0][number] = (request, response) => {
        seen.push(request.headers.authorization, request.headers['x-api-key'] as string | undefined)
        tell(request, response)
      }
      const headers = { authorization: 'Bearer alpha', 'x-api-key': 'b' }
      proxy = await TestProxy.start([note], withKeys('alpha'))
      assert.equal(await status(headers), 200)
      await proxy.stop()
      proxy = await TestProxy.start([note])
      assert.equal(await status(headers), 200)
      assert.deepEqual(seen, [undefined, undefined, 'Bearer alpha', 'b'])
    })

    it('takes a changed file over, and keeps the last good keys while it is bad', async () => {
      proxy = await TestProxy.start([text('ok')], withKeys('alpha'))
      const alpha = { authorization: 'Bearer alpha' }
      const beta = { authorization: 'Bearer beta' }
      assert.deepEqual([await status(alpha), await status(beta)], [200, 401])
      replace('keys', 'beta')
      await until('beta is in force', async () => (await status(beta)) === 200)
      assert.equal(await status(alpha), 401)
      const notice = () =>
        proxy!.telemetry.notices.list().find(({ key }) => key === 'api-keys-file')?.text
      for (const bad of ['# none\n', 'not ascii: ü\n']) {
        replace('keys', bad)
        await until('it is told', () => notice() !== undefined)
        assert.equal(await status(beta), 200)
        assert.doesNotMatch(notice()!, /ü|beta/)
        replace('keys', 'beta\n# again\n')
        await until('it is good again', () => notice() === undefined)
      }
      rmSync(join(folder, 'keys'))
      await until('it is told', () => notice() !== undefined)
      assert.equal(await status(beta), 200)
      assert.equal(await proxy.counted('epp_proxy_api_key_loads_total', 'failed'), 3)
    })

    for (const [what, content] of [
      ['is not there', undefined],
      ['has no key', '\n# nothing\n'],
    ] as const) {
      it(`does not start when the file ${what}`, async () => {
        await assert.rejects(
          TestProxy.start([text('ok')], withKeys(content)),
          isCode('START_FAILED'),
        )
      })
    }
  })

  it('is open to whoever reaches it, and says so where that is not this machine alone', async () => {
    const warned = () => proxy!.telemetry.lines.filter((line) => line.includes('without API keys'))
    proxy = await TestProxy.start([text('ok')], { host: '0.0.0.0' })
    assert.equal(warned().length, 1)
    await proxy.stop()
    proxy = await TestProxy.start([text('ok')])
    assert.equal(warned().length, 0)
  })

  describe('with TLS', () => {
    const certificate = async (name: string) => {
      const made = await generate([{ name: 'commonName', value: name }], {
        keyType: 'ec',
        curve: 'P-256',
      })
      replace('tls.key', made.private)
      replace('tls.crt', made.cert)
      return made.cert
    }
    const tls = () => ({ tls: { certPath: folder } })

    it('speaks HTTP/1.1', async () => {
      const ca = await certificate('localhost')
      proxy = await TestProxy.start([text('ok')], tls())
      const request = httpsRequest({
        ...{ host: '127.0.0.1', port: proxy.port, method: 'POST', path: '/v1/completions' },
        ...{ ca, servername: 'localhost', agent: false, checkServerIdentity: () => undefined },
      })
      request.end(COMPLETION)
      const [response] = await once(request, 'response')
      assert.equal(response.statusCode, 200)
      assert.equal(Buffer.concat(await response.toArray()).toString(), 'ok')
    })

    it('speaks HTTP/2 to those who offer it', async () => {
      const ca = await certificate('localhost')
      proxy = await TestProxy.start([text('ok')], tls())
      const session = connectHttp2(`https://127.0.0.1:${proxy.port}`, {
        ...{ ca, servername: 'localhost', checkServerIdentity: () => undefined },
      })
      const stream = session.request({ ':method': 'POST', ':path': '/v1/completions' })
      stream.end(COMPLETION)
      const [headers] = await once(stream, 'response')
      assert.equal(headers[':status'], 200)
      assert.equal(session.alpnProtocol, 'h2')
      assert.equal(Buffer.concat(await stream.toArray()).toString(), 'ok')
      session.close()
    })

    it('closes a connection that is not TLS, and one that does not finish its handshake', async () => {
      await certificate('localhost')
      proxy = await TestProxy.start([text('ok')], { ...tls(), headersTimeoutMs: 200 })
      const plain = new RawClient(proxy.port)
      plain.send('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      const silent = new RawClient(proxy.port)
      await until('both are closed', () => plain.closed && silent.closed)
      await until(
        'no connection is left',
        async () => (await proxy!.counted('epp_proxy_connections_active')) === 0,
      )
    })

    it('takes a changed certificate over for new connections', async () => {
      await certificate('first')
      proxy = await TestProxy.start([text('ok')], {
        tls: { certPath: folder, reload: true, reloadMs: 20 },
      })
      const name = async () => {
        const socket = connectTls({
          host: '127.0.0.1',
          port: proxy!.port,
          rejectUnauthorized: false,
        })
        await once(socket, 'secureConnect')
        const { subject } = socket.getPeerCertificate()
        socket.destroy()
        return subject.CN
      }
      assert.equal(await name(), 'first')
      await certificate('second')
      await until('the new one is in force', async () => (await name()) === 'second')
      writeFileSync(join(folder, 'tls.crt'), 'no certificate')
      await until(
        'the bad one is counted',
        async () => (await proxy!.counted('epp_certificate_reloads_total', 'failed')) > 0,
      )
      assert.equal(await name(), 'second')
    })

    it('does not start without a certificate', async () => {
      await assert.rejects(TestProxy.start([text('ok')], tls()), isCode('START_FAILED'))
      writeFileSync(join(folder, 'tls.crt'), 'x')
      writeFileSync(join(folder, 'tls.key'), 'x')
      await assert.rejects(TestProxy.start([text('ok')], tls()), isCode('START_FAILED'))
    })
  })
})
