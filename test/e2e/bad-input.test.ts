import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientRequest, request } from 'node:http'
import { assertNoCanary, CANARY } from '../integration/canary.ts'
import { inMebibytes, MEBIBYTE, peakBytes, residentBytes } from '../integration/memory.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { post } from './openai-client.ts'
import { eventually, type Process } from './process.ts'

const MODEL = 'm'
const ADDRESS = '127.0.0.93'
const LARGE_MEBIBYTES = 300
const GROWTH_BYTES = 250 * MEBIBYTE
const HEADERS = { 'content-type': 'application/json', authorization: CANARY.authorization }

interface Answer {
  readonly status: number
  readonly body: string
}

describe('bad input through a real Envoy', function () {
  this.timeout(60_000)
  let engine: Process
  let epp: Epp
  let envoy: Envoy
  const answers: string[] = []

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    const started = await startEngine([
      ...['--host', ADDRESS, '--port', '0', '--served-model-name', MODEL],
    ])
    engine = started.process
    epp = await Epp.start([
      ...['--endpoint', `${ADDRESS}:${started.port}`, '--kv-events-bind', 'tcp://127.0.0.1:*'],
      ...['-v', '4'],
    ])
    envoy = await Envoy.start(epp.ports.grpc)
    await serves()
  })

  after(async () => {
    await envoy?.stop()
    await epp?.stop()
    await engine?.stop()
  })

  const completion = (prompt: string) =>
    JSON.stringify({ model: MODEL, max_tokens: 1, cache_salt: CANARY.salt, prompt })
  /** Fails unless an ordinary request is answered by the engine, and nothing of any request is left. */
  const serves = async () => {
    const answer = await post(`${envoy.url}/v1/completions`, completion('an ordinary prompt'))
    assert.equal(answer.status, 200)
    await eventually('no exchange is left', async () => {
      const values = await Promise.all([
        epp.metric('epp_extproc_exchanges_active'),
        epp.metric('epp_extproc_buffered_bytes'),
      ])
      const [endpoint] = await epp.json<{ inFlight: number }[]>('/endpoints')
      return [...values, endpoint!.inFlight].every((value) => value === 0) || undefined
    })
  }
  const open = (headers: Readonly<Record<string, string | number>> = {}) =>
    request(`${envoy.url}/v1/completions`, { method: 'POST', headers: { ...HEADERS, ...headers } })
  /** What the client is told, which may be before it has sent all. */
  const answerTo = (call: ClientRequest) =>
    new Promise<Answer>((resolve, reject) => {
      call.on('error', reject)
      call.on('response', (response) => {
        let body = ''
        response.setEncoding('utf8')
        response.on('data', (text: string) => {
          body += text
        })
        response.on('end', () => {
          // What is still to be sent is of no use: Envoy may cut the connection.
          call.on('error', () => {})
          answers.push(body)
          resolve({ status: response.statusCode!, body })
        })
      })
    })
  const REFUSED: Readonly<
    Record<string, { readonly body: string | Buffer; readonly message: RegExp }>
  > = {
    'truncated JSON': {
      body: completion(CANARY.text).slice(0, -2),
      message: /ends in the middle of its JSON/,
    },
    'invalid UTF-8': {
      body: Buffer.concat([
        Buffer.from(`{"prompt":"${CANARY.text}`),
        Buffer.from([0xff]),
        Buffer.from('"}'),
      ]),
      message: /not valid UTF-8/,
    },
    'an empty list of prompts': {
      body: `{"model":"${MODEL}","prompt":[]}`,
      message: /"prompt" is empty/,
    },
    '20 million objects': {
      body: `{"model":"${MODEL}","prompt":"${CANARY.text}","a":[${'{},'.repeat(20_000_000)}{}]}`,
      message: /more than 250000 objects and arrays/,
    },
  }
  for (const [name, { body, message }] of Object.entries(REFUSED)) {
    it(`${name} is answered 400`, async () => {
      const call = open()
      const answer = answerTo(call)
      call.end(body)
      const { status, body: text } = await answer
      assert.equal(status, 400)
      const { error } = JSON.parse(text)
      assert.equal(error.code, 'BAD_REQUEST')
      assert.match(error.message, message)
      await serves()
    })
  }

  for (const how of ['in chunks', 'with its length said']) {
    it(`a body of ${LARGE_MEBIBYTES} MiB ${how} is answered 413, and is not held`, async () => {
      const before = await residentBytes(epp)
      const length = how === 'in chunks' ? {} : { 'content-length': LARGE_MEBIBYTES * MEBIBYTE }
      const call = open(length)
      let done = false
      const answer = answerTo(call).finally(() => {
        done = true
      })
      const piece = Buffer.alloc(MEBIBYTE, 0x61)
      call.write(`{"model":"${MODEL}","prompt":"${CANARY.text}`)
      let sent = 0
      for (; sent < LARGE_MEBIBYTES - 1 && !done && !call.destroyed; sent++) {
        if (!call.write(piece)) await Promise.race([once(call, 'drain'), answer])
      }
      const { status, body } = await answer
      call.destroy()
      assert.equal(status, 413)
      const { error } = JSON.parse(body)
      assert.equal(error.code, 'BODY_TOO_LARGE')
      const peak = await peakBytes(epp)
      console.log(
        `      answered after ${sent} MiB; resident ${inMebibytes(before)}, at most ${inMebibytes(peak)}`,
      )
      assert.ok(peak - before < GROWTH_BYTES)
      await serves()
    })
  }

  it('a client that trickles its body is served, and keeps nobody waiting', async () => {
    const body = completion(`${CANARY.text} ${'x'.repeat(400)}`)
    const call = open()
    const answer = answerTo(call)
    call.flushHeaders()
    for (let at = 0; at < body.length; at++) {
      await new Promise<void>((resolve) => call.write(body[at]!, () => resolve()))
      if (at % 100 !== 50) continue
      await eventually(
        'the bytes so far are held',
        async () => (await epp.metric('epp_extproc_buffered_bytes')) === at + 1 || undefined,
      )
      const other = await post(`${envoy.url}/v1/completions`, completion('another prompt'))
      assert.equal(other.status, 200)
    }
    call.end()
    assert.equal((await answer).status, 200)
    await serves()
  })

  it('clients that go away in the middle of their bodies leave nothing behind', async () => {
    const calls = Array.from({ length: 200 }, () => {
      const call = open().on('error', () => {})
      call.write(completion(CANARY.text).slice(0, 40))
      return call
    })
    await eventually(
      'the bodies are held',
      async () => (await epp.metric('epp_extproc_buffered_bytes')) === 200 * 40 || undefined,
    )
    for (const call of calls) call.destroy()
    await serves()
  })

  it('says nothing of prompts, salts and credentials anywhere', async () => {
    assert.ok(answers.length > Object.keys(REFUSED).length)
    await assertNoCanary(epp, answers)
  })
})
