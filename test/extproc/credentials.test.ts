import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { generate } from 'selfsigned'
import { serverCertificate } from '../../src/extproc/credentials.ts'
import { GrpcServer } from '../../src/extproc/grpc/grpc-server.ts'
import {
  CertificateFiles,
  type CertificateSource,
  type KeyPair,
} from '../../src/framework/certificate-files.ts'
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

describe('serverCertificate', () => {
  let folder: string
  let one: KeyPair
  let two: KeyPair
  let server: GrpcServer | undefined
  before(async () => {
    one = await pairFor('one')
    two = await pairFor('two')
  })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-tls-'))
  })
  afterEach(async () => {
    await server?.close(0)
    server = undefined
    rmSync(folder, { recursive: true })
  })

  const write = ({ certificate }: KeyPair, { privateKey }: KeyPair) => {
    writeFileSync(join(folder, 'tls.crt'), certificate)
    writeFileSync(join(folder, 'tls.key'), privateKey)
  }
  const listen = (certificate: CertificateSource | undefined): Promise<number> => {
    server = new GrpcServer({
      methods: new Map(),
      certificate,
      maxMessageBytes: 1024,
      maxConnections: 10,
      refused: () => {},
      failed: assert.ifError,
    })
    return server.listen('127.0.0.1', 0)
  }

  it('makes a certificate of its own, or takes the one of a folder', async () => {
    const own = await serverCertificate({ secureServing: true, certPath: undefined })
    assert.equal(await nameAt(await listen(own)), 'endpoint-picker')
    await server?.close(0)
    write(one, one)
    const given = await serverCertificate({ secureServing: true, certPath: folder })
    assert.equal(await nameAt(await listen(given)), 'one')
  })

  for (const reload of [false, true]) {
    it(`refuses what cannot be used ${reload ? 'with' : 'without'} reload`, async () => {
      const tls = { secureServing: true, certPath: folder, enableCertReload: reload }
      const start = () => serverCertificate(tls, telemetry())
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
    const credentials = await serverCertificate(tls, telemetry())
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
    const port = await listen(files)
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
    const seen: KeyPair[] = []
    const end = files.listen((pair) => seen.push(pair))
    assert.equal(files.pair, one)
    await until('several reads', () => reads >= 3)
    assert.deepEqual(seen, [])
    answer = () => ({ certificate: one.certificate, privateKey: two.privateKey })
    await until('a refusal', async () => {
      return ((await services.value('epp_certificate_reloads_total{result="failed"}')) ?? 0) > 2
    })
    answer = () => {
      throw new Error('no such file')
    }
    await until('the reason', () => services.lines.some((line) => line.includes('no such file')))
    assert.deepEqual(seen, [])
    answer = () => two
    await until('the new pair', () => seen.length === 1)
    assert.equal(seen[0], two)
    assert.equal(files.pair, two)
    assert.equal(await services.value('epp_certificate_reloads_total{result="ok"}'), 1)
    assert.equal(services.lines.filter((line) => line.includes('belong together')).length, 1)
    end()
    const before = reads
    let others = 0
    const read = async () => {
      others++
      return one
    }
    const other = new CertificateFiles(one, { read, check: () => {}, readMs: 1, ...telemetry() })
    const endOther = other.listen(() => {})
    await until('twenty reads of another', () => others >= 20)
    endOther()
    assert.ok(reads <= before + 1, 'at most the one that was under way')
  })
})
