import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { experimental, Server } from '@grpc/grpc-js'
import { generate } from 'selfsigned'
import { CertificateFiles, type KeyPair } from '../../src/extproc/certificate-files.ts'
import { serverCredentials } from '../../src/extproc/credentials.ts'
import { telemetry, until } from '../datalayer/telemetry.ts'

/** A pair for that name. */
async function pairFor(name: string): Promise<KeyPair> {
  const made = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    algorithm: 'sha256',
  })
  return { certificate: Buffer.from(made.cert), privateKey: Buffer.from(made.private) }
}

/** The common name of the certificate that a new connection gets. */
function nameAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] }
    const socket = connect(options, () => {
      assert.equal(socket.alpnProtocol, 'h2')
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

describe('serverCredentials', () => {
  let folder: string
  let one: KeyPair
  let two: KeyPair
  let server: Server | undefined
  before(async () => {
    one = await pairFor('one')
    two = await pairFor('two')
  })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-tls-'))
  })
  afterEach(() => {
    server?.forceShutdown()
    rmSync(folder, { recursive: true })
  })

  const write = ({ certificate }: KeyPair, { privateKey }: KeyPair) => {
    writeFileSync(join(folder, 'tls.crt'), certificate)
    writeFileSync(join(folder, 'tls.key'), privateKey)
  }
  const listen = (credentials: Parameters<Server['bindAsync']>[1]): Promise<number> => {
    const started = new Server({ 'grpc.enable_channelz': 0 })
    server = started
    return new Promise((resolve, reject) => {
      started.bindAsync('127.0.0.1:0', credentials, (error, port) =>
        error ? reject(error) : resolve(port),
      )
    })
  }

  it('makes a certificate of its own, or takes the one of a folder', async () => {
    const own = await serverCredentials({ secureServing: true, certPath: undefined })
    assert.equal(await nameAt(await listen(own)), 'endpoint-picker')
    server?.forceShutdown()
    write(one, one)
    const given = await serverCredentials({ secureServing: true, certPath: folder })
    assert.equal(await nameAt(await listen(given)), 'one')
  })

  for (const reload of [false, true]) {
    it(`refuses what cannot be used ${reload ? 'with' : 'without'} reload`, async () => {
      const tls = { secureServing: true, certPath: folder, enableCertReload: reload }
      const start = () => serverCredentials(tls, telemetry())
      await assert.rejects(start(), {
        code: 'START_FAILED',
        message: /cannot read .*tls\.(crt|key).*; --cert-path must name a folder/,
      })
      write(one, two)
      await assert.rejects(start(), {
        code: 'START_FAILED',
        message: /the certificate cannot be used/,
      })
    })
  }

  it('serves the files at once when it reloads them', async () => {
    write(one, one)
    const tls = { secureServing: true, certPath: folder, enableCertReload: true }
    const credentials = await serverCredentials(tls, telemetry())
    assert.equal(await nameAt(await listen(credentials)), 'one')
  })

  it('gives new connections the changed certificate, and keeps the open ones', async () => {
    let pair = one
    const files = new CertificateFiles(one, {
      read: async () => pair,
      check: () => {},
      readMs: 1,
      ...telemetry(),
    })
    const credentials = experimental.createCertificateProviderServerCredentials(files, null, false)
    const port = await listen(credentials)
    const open = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(open, 'secureConnect')
    let closed = false
    open
      .on('error', () => {})
      .once('close', () => {
        closed = true
      })
    pair = two
    await until('the new certificate', async () => (await nameAt(port)) === 'two')
    assert.equal(closed, false)
    open.destroy()
  })
})

describe('CertificateFiles', () => {
  it('takes a changed pair over, keeps the last one of bad files, and ends with its listeners', async () => {
    const [one, two] = [await pairFor('one'), await pairFor('two')]
    const services = telemetry()
    let reads = 0
    let answer: () => KeyPair = () => one
    const files = new CertificateFiles(one, {
      read: async () => {
        reads++
        return answer()
      },
      check: (pair) => {
        if (pair.certificate === one.certificate && pair.privateKey === two.privateKey) {
          throw new Error('they do not belong together')
        }
      },
      readMs: 1,
      ...services,
    })
    const seen: (KeyPair | null)[] = []
    const listener = (pair: KeyPair | null) => seen.push(pair)
    files.addIdentityCertificateListener(listener)
    assert.deepEqual(seen, [], 'not before the call ends')
    await until('several reads', () => reads >= 3)
    assert.deepEqual(seen, [one])
    answer = () => ({ certificate: one.certificate, privateKey: two.privateKey })
    await until('a refusal', async () => {
      return ((await services.value('epp_certificate_reloads_total{result="failed"}')) ?? 0) > 2
    })
    answer = () => {
      throw new Error('no such file')
    }
    await until('the reason', () => services.lines.some((line) => line.includes('no such file')))
    assert.deepEqual(seen, [one])
    answer = () => two
    await until('the new pair', () => seen.length === 2)
    assert.equal(seen[1], two)
    assert.equal(await services.value('epp_certificate_reloads_total{result="ok"}'), 1)
    assert.equal(services.lines.filter((line) => line.includes('belong together')).length, 1)
    files.removeIdentityCertificateListener(listener)
    const before = reads
    let others = 0
    const read = async () => {
      others++
      return one
    }
    const other = new CertificateFiles(one, { read, check: () => {}, readMs: 1, ...telemetry() })
    other.addIdentityCertificateListener(listener)
    await until('twenty reads of another', () => others >= 20)
    other.removeIdentityCertificateListener(listener)
    assert.ok(reads <= before + 1, 'at most the one that was under way')
  })
})
