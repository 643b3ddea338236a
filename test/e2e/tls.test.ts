import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ChannelCredentials, credentials } from '@grpc/grpc-js'
import { generate } from 'selfsigned'
import { Gateway, requestBody, requestHeaders } from '../extproc/client.ts'
import { Epp } from './epp.ts'

const SERVICES = [
  '',
  'readiness',
  'liveness',
  'inference-extension',
  'envoy.service.ext_proc.v3.ExternalProcessor',
]
const UNAVAILABLE = 14

describe('TLS on the ext_proc port', function () {
  this.timeout(60_000)
  let epp: Epp
  const gateways: Gateway[] = []
  const gatewayTo = (address: string, channel?: ChannelCredentials) => {
    const gateway = new Gateway(address, channel)
    gateways.push(gateway)
    return gateway
  }
  const start = async (...args: string[]) => {
    epp = await Epp.start(['--kv-events-bind', 'tcp://127.0.0.1:*', ...args])
  }
  /** Fails unless requests are answered on that channel. */
  const assertAnswers = async (gateway: Gateway) => {
    const asked = gateway
      .open()
      .send(requestHeaders(), requestBody('{"model":"m","prompt":"p"}', true))
    const [answer] = await asked.rest()
    assert.equal(answer?.immediateResponse?.status.code, 503)
    assert.match(answer!.immediateResponse!.body.toString(), /POOL_EMPTY/)
  }
  const assertServing = async (gateway: Gateway) => {
    for (const name of SERVICES) assert.equal(await gateway.check(name), 'SERVING', name)
  }

  afterEach(async () => {
    for (const gateway of gateways.splice(0)) gateway.close()
    await epp?.stop()
  })

  it('is on by default with a certificate of its own; health stands on the plaintext port too', async () => {
    await start()
    const address = `localhost:${epp.ports.grpc}`
    const unverified = credentials.createSsl(null, null, null, { rejectUnauthorized: false })
    await assertAnswers(gatewayTo(address, unverified))
    await assertServing(gatewayTo(address, unverified))
    await assertServing(gatewayTo(`127.0.0.1:${epp.ports.health}`))
    await assert.rejects(gatewayTo(address, credentials.createSsl()).check(''), {
      code: UNAVAILABLE,
    })
    await assert.rejects(gatewayTo(address).check(''), { code: UNAVAILABLE })
  })

  it('takes a given certificate, which a client that trusts it verifies', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'epp-tls-'))
    try {
      const pem = await generate([{ name: 'commonName', value: 'localhost' }], {
        keyType: 'ec',
        algorithm: 'sha256',
      })
      writeFileSync(join(folder, 'tls.crt'), pem.cert)
      writeFileSync(join(folder, 'tls.key'), pem.private)
      await start('--cert-path', folder)
      const verified = credentials.createSsl(Buffer.from(pem.cert))
      const gateway = gatewayTo(`localhost:${epp.ports.grpc}`, verified)
      await assertAnswers(gateway)
      await assertServing(gateway)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('is off when told so', async () => {
    await start('--secure-serving=false')
    await assertAnswers(gatewayTo(`127.0.0.1:${epp.ports.grpc}`))
  })
})
