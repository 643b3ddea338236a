import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp } from './epp.ts'
import { eventually } from './process.ts'

const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const RESPONSE_BYTES = 3_000_000

describe('bodies through a real Envoy', function () {
  this.timeout(60_000)
  let server: Server
  let epp: Epp
  let envoy: Envoy
  let seen: { digest: string; bytes: number; headers: IncomingMessage['headers'] } | undefined
  let streamClosed = false

  /** A model server that notes what it was sent, and answers with a large body or a stream without an end. */
  const answer = async (incoming: IncomingMessage, response: ServerResponse) => {
    const pieces: Buffer[] = []
    for await (const piece of incoming) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces)
    if (incoming.method !== 'POST') return response.writeHead(404).end()
    seen = { digest: sha256(body), bytes: body.length, headers: incoming.headers }
    if (!body.includes('"stream":true')) {
      response.writeHead(200, { 'content-type': 'application/json' })
      return response.end(Buffer.alloc(RESPONSE_BYTES, 'a'))
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: {"choices":[]}\n\n')
    response.once('close', () => {
      streamClosed = true
    })
  }

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    server = createServer((incoming, response) => void answer(incoming, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    epp = await Epp.start([
      ...['--endpoint', `127.0.0.1:${(server.address() as AddressInfo).port}`],
      ...['--kv-events-bind', 'tcp://127.0.0.1:*'],
    ])
    envoy = await Envoy.start(epp.ports.grpc)
  })

  after(async () => {
    await envoy?.stop()
    await epp?.stop()
    server?.closeAllConnections()
    server?.close()
  })

  const inFlight = async () => (await epp.json<{ inFlight: number }[]>('/endpoints'))[0]!.inFlight

  it('passes 3 MB on, both ways, byte by byte', async () => {
    const body = JSON.stringify({
      model: 'm',
      messages: [{ role: 'user', content: 'päyload '.repeat(333_333) }],
    })
    assert.ok(Buffer.byteLength(body) > 3_000_000)
    const response = await fetch(`${envoy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-prefiller-host-port': '10.9.9.9:1',
        'x-gateway-destination-endpoint': '10.9.9.9:1',
      },
      body,
    })
    assert.equal(response.status, 200)
    const received = Buffer.from(await response.arrayBuffer())
    assert.equal(sha256(received), sha256(Buffer.alloc(RESPONSE_BYTES, 'a')))
    assert.equal(seen!.bytes, Buffer.byteLength(body))
    assert.equal(seen!.digest, sha256(body))
    assert.equal(seen!.headers['x-prefiller-host-port'], undefined)
    assert.match(String(seen!.headers['x-request-id']), /^[0-9a-f-]{36}$/)
    await eventually('the load is taken off', async () => (await inFlight()) === 0 || undefined)
  })

  it('changes only the bytes of the model when asked for another', async () => {
    const body =
      '{ "messages" : [{"role":"user","content":"\\"model\\": \\"x\\""}],"model":"old" , "n":1.0}'
    await fetch(`${envoy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-llm-d-model-name-rewrite': 'a "new" one' },
      body,
    })
    assert.equal(seen!.digest, sha256(body.replace('"old"', '"a \\"new\\" one"')))
    assert.equal(seen!.headers['x-llm-d-model-name-rewrite'], undefined)
  })

  it('takes the load off when the client goes away in mid-stream', async () => {
    streamClosed = false
    const id = 'aborted'
    const client = request(`${envoy.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': id },
    })
    client.on('error', () => {})
    client.end('{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}')
    const response = await new Promise<IncomingMessage>((resolve) =>
      client.once('response', resolve),
    )
    await new Promise((resolve) => response.once('data', resolve))
    assert.equal(await inFlight(), 1)
    client.destroy()
    await eventually('the load is taken off', async () => (await inFlight()) === 0 || undefined)
    await eventually('the engine sees it', () => streamClosed || undefined)
    const decision = await epp.json<{ ended: string }>(`/decisions/${id}`)
    assert.ok(['aborted', 'client-gone'].includes(decision.ended), decision.ended)
  })
})
