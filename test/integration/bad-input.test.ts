import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { seededRandom } from '../../src/framework/random.ts'
import { eventually } from '../e2e/process.ts'
import {
  processMethod,
  requestBody,
  requestHeaders,
  requestTrailers,
  responseBody,
  responseHeaders,
  statusName,
} from '../extproc/client.ts'
import { tokenizersDir } from '../fixtures.ts'
import { assertNoCanary, CANARY } from './canary.ts'
import { Conversation, type Question } from './conversation.ts'
import { ROUTED, refusals, withstands } from './hostile-row.ts'
import { inMebibytes, MEBIBYTE, peakBytes, residentBytes } from './memory.ts'
import { RogueEngine } from './rogue-engine.ts'

const CHAT = '/v1/chat/completions'
const DEEP = 100_000
/** Nesting that is allowed and no engine's template goes through. */
const MUCH = 900
const TINY_MESSAGES = 200_000

/** A completion with the canaries in it. */
const completion = (prompt: string, more = '') =>
  `{"model":"m","cache_salt":"${CANARY.salt}","user":"${CANARY.text}"${more},"prompt":${prompt}}`
const chat = (messages: string, more = '') =>
  `{"model":"m","cache_salt":"${CANARY.salt}"${more},"messages":${messages}}`
const text = (value: string) => JSON.stringify(`${CANARY.text} ${value}`)
const said = (content: string) => `[{"role":"user","content":${content}}]`

interface Refused extends Question {
  readonly body: string | Buffer
  /** 400 when absent. */
  readonly status?: number
  /** BAD_REQUEST when absent. */
  readonly code?: string
  readonly message: RegExp
}

const REFUSED: Readonly<Record<string, Refused>> = {
  'truncated JSON': {
    body: completion(text('x')).slice(0, -3),
    message: /ends in the middle of its JSON/,
  },
  'JSON truncated in a chat': {
    body: chat(said(text('x'))).slice(0, -4),
    path: CHAT,
    message: /ends in the middle of its JSON/,
  },
  'no JSON at all': { body: `prompt=${CANARY.text}`, message: /is not JSON/ },
  'JSON and more': { body: `${completion(text('x'))}}`, message: /is not JSON/ },
  'an empty string of bytes with spaces': {
    body: '   ',
    message: /middle of its JSON|is not JSON/,
  },
  'invalid UTF-8': {
    body: Buffer.concat([
      Buffer.from(`{"model":"m","prompt":"${CANARY.text}`),
      Buffer.from([0xc3, 0x28, 0xff]),
      Buffer.from('"}'),
    ]),
    message: /not valid UTF-8/,
  },
  'overlong UTF-8': {
    body: Buffer.concat([
      Buffer.from('{"model":"m","prompt":"'),
      Buffer.from([0xc0, 0x80]),
      Buffer.from('"}'),
    ]),
    message: /not valid UTF-8/,
  },
  'UTF-16': { body: Buffer.from(completion(text('x')), 'utf16le'), message: /is not JSON|UTF-8/ },
  'an array': {
    body: `[${completion(text('x'))}]`,
    message: /must be a JSON object, got an array/,
  },
  null: { body: 'null', message: /must be a JSON object, got null/ },
  'NaN in place of a number': {
    body: completion(text('x'), ',"temperature":NaN'),
    message: /is not JSON/,
  },
  'Infinity in place of a number': {
    body: completion(text('x'), ',"temperature":-Infinity'),
    message: /is not JSON/,
  },
  'deep nesting that is not closed': {
    body: completion('['.repeat(DEEP)),
    message: /nested deeper than 1000 objects and arrays \(--max-json-depth\)/,
  },
  'deep nesting as a prompt': {
    body: completion('['.repeat(DEEP) + ']'.repeat(DEEP)),
    message: /nested deeper than 1000/,
  },
  'deep nesting in a field that is not read': {
    body: completion(text('x'), `,"extra":${'['.repeat(DEEP)}${']'.repeat(DEEP)}`),
    message: /nested deeper than 1000/,
  },
  'deep nesting in a tool': {
    body: chat(said(text('x')), `,"tools":[${'{"a":'.repeat(DEEP)}1${'}'.repeat(DEEP)}]`),
    path: CHAT,
    message: /nested deeper than 1000/,
  },
  'a million objects in 3 MB': {
    body: completion(text('x'), `,"extra":[${'{},'.repeat(1_000_000)}{}]`),
    message: /more than 250000 objects and arrays or 4000000 values/,
  },
  '20 million objects in 60 MB of a chat': {
    body: chat(said(text('x')), `,"extra":[${'{},'.repeat(20_000_000)}{}]`),
    path: CHAT,
    message: /more than 250000 objects and arrays/,
  },
  '5 million token ids': {
    body: completion(`[${'1,'.repeat(5_000_000)}${CANARY.token}]`),
    message: /or 4000000 values/,
  },
  'a NUL between tokens': { body: '{"model":"m",\0"prompt":"x"}', message: /is not JSON/ },
  'no prompt': { body: '{"model":"m"}', message: /"prompt" is missing/ },
  'an empty list of prompts': { body: completion('[]'), message: /"prompt" is empty/ },
  'an empty list of token ids': { body: completion('[[]]'), message: /"prompt\[0\]" is empty/ },
  'a number as prompt': { body: completion('7'), message: /"prompt" must not be a number/ },
  'strings and ids mixed': {
    body: completion(`[${text('x')},${CANARY.token}]`),
    message: /"prompt\[1\]" must be a string/,
  },
  'token id too large': {
    body: completion(`[${CANARY.token},2147483648]`),
    message: /"prompt\[1\]" must be a whole number from 0 to 2147483647, got another number/,
  },
  'token id of infinite size': {
    body: completion(`[${CANARY.token},1e999]`),
    message: /got another number/,
  },
  'negative token id': { body: completion(`[${CANARY.token},-1]`), message: /got another number/ },
  'token id with a fraction': {
    body: completion(`[${CANARY.token},${CANARY.token}.5]`),
    message: /got another number/,
  },
  'token ids nested four deep': {
    body: completion(`[[[[${CANARY.token}]]]]`),
    message: /"prompt\[0\]\[0\]" must be a whole number.*got an array/,
  },
  'ids beside lists of ids': {
    body: completion(`[[${CANARY.token}],${CANARY.token}]`),
    message: /"prompt\[1\]" must be an array of token ids/,
  },
  'no messages': { body: '{"model":"m"}', path: CHAT, message: /"messages" is missing/ },
  'an empty list of messages': { body: chat('[]'), path: CHAT, message: /"messages" is empty/ },
  'messages that are a string': {
    body: chat(text('x')),
    path: CHAT,
    message: /"messages" must be an array, got a string/,
  },
  'messages that are an object': {
    body: chat(`{"role":"user","content":${text('x')}}`),
    path: CHAT,
    message: /"messages" must be an array, got an object/,
  },
  'a message that is a string': {
    body: chat(`[${text('x')}]`),
    path: CHAT,
    message: /"messages\[0\]" must be an object/,
  },
  'a message without a role': {
    body: chat(`[{"content":${text('x')}}]`),
    path: CHAT,
    message: /"messages\[0\].role" must be a string/,
  },
  'a model that is a number': {
    body: '{"model":7,"prompt":"x"}',
    message: /"model" must be a string/,
  },
  'no model': {
    body: `{"prompt":${text('x')}}`,
    code: 'MODEL_MISSING',
    message: /names no model/,
  },
  'a model in __proto__ alone': {
    body: `{"__proto__":{"model":"m"},"prompt":${text('x')}}`,
    code: 'MODEL_MISSING',
    message: /names no model/,
  },
  'a prompt in __proto__ alone': {
    body: `{"model":"m","__proto__":{"prompt":${text('x')}}}`,
    message: /"prompt" is missing/,
  },
  'a model name of 1 MB': {
    body: JSON.stringify({ model: 'm'.repeat(1_000_000), prompt: CANARY.text }),
    message: /"model" is longer than/,
  },
  'a rewrite to a model name of 10,000 characters': {
    body: completion(text('x')),
    headers: { 'x-gateway-model-name-rewrite': 'm'.repeat(10_000) },
    message: /x-gateway-model-name-rewrite.* is longer than/,
  },
  'a cache salt that is a list': {
    body: `{"model":"m","prompt":"x","cache_salt":["${CANARY.salt}"]}`,
    message: /"cache_salt" must be a string/,
  },
  '40,000 bogus header names': {
    body: completion(text('x')),
    headers: Object.fromEntries(Array.from({ length: 40_000 }, (_, i) => [`x-bogus-${i}`, '1'])),
    message: /headers take \d+ bytes, more than 262144/,
  },
  'one header of 1 MB': {
    body: completion(text('x')),
    headers: { 'x-long': CANARY.text.repeat(60_000) },
    message: /headers take \d+ bytes, more than 262144/,
  },
  'a body that a header says is too long': {
    body: completion(text('x')),
    headers: { 'content-length': '300000000' },
    status: 413,
    code: 'BODY_TOO_LARGE',
    message: /larger than the 64 MiB/,
  },
}

interface Served extends Question {
  readonly body: string | Buffer
}

const SERVED: Readonly<Record<string, Served>> = {
  'lone surrogates': { body: completion(`"${CANARY.text} \\ud800 \\udfff\\ud800"`) },
  'lone surrogates in a chat': { body: chat(said(`"${CANARY.text} \\udc00"`)), path: CHAT },
  'NUL in a prompt': { body: completion(`"${CANARY.text} \\u0000\\u0000"`) },
  'NUL in a chat': { body: chat(said(`"${CANARY.text} \\u0000"`)), path: CHAT },
  '1 MB of one character': { body: completion(text('a'.repeat(1_000_000))) },
  '1 MB of one character in a chat': {
    body: chat(said(text('\u00e9'.repeat(500_000)))),
    path: CHAT,
  },
  '1 MB of spaces': { body: completion(text(' '.repeat(1_000_000))) },
  '100,000 messages': {
    body: chat(
      JSON.stringify(
        Array.from({ length: 100_000 }, () => ({ role: 'user', content: CANARY.text })),
      ),
    ),
    path: CHAT,
  },
  '100,000 prompts': {
    body: completion(JSON.stringify(Array.from({ length: 100_000 }, () => CANARY.text))),
  },
  'a million token ids': {
    body: completion(JSON.stringify(Array.from({ length: 1_000_000 }, () => CANARY.token))),
  },
  'roles and contents of strange types': {
    body: chat(
      `[{"role":"${CANARY.text}","content":{"a":[1,null]}},{"role":"user","content":7},{"role":"user"}]`,
    ),
    path: CHAT,
  },
  'nesting of 900 in a field that is not read': {
    body: completion(text('x'), `,"extra":${'['.repeat(MUCH)}${']'.repeat(MUCH)}`),
  },
  'nesting of 900 in a tool': {
    body: chat(said(text('x')), `,"tools":[${'{"a":'.repeat(MUCH)}1${'}'.repeat(MUCH)}]`),
    path: CHAT,
  },
  'nesting of 900 in a content': {
    body: chat(said(`${'[{"a":'.repeat(MUCH / 2)}1${'}]'.repeat(MUCH / 2)}`)),
    path: CHAT,
  },
  'nesting of 900 in template arguments': {
    body: chat(
      said(text('x')),
      `,"chat_template_kwargs":${'{"a":'.repeat(MUCH)}1${'}'.repeat(MUCH)}`,
    ),
    path: CHAT,
  },
  'a template of the client': {
    body: chat(said(text('x')), `,"chat_template":"{% for i in range(1000000000) %}x{% endfor %}"`),
    path: CHAT,
  },
  'duplicate keys': { body: `{"model":"x","prompt":[],"model":"m","prompt":${text('x')}}` },
  'keys named __proto__ and constructor at every depth': {
    body: chat(
      `[{"role":"user","content":${text('x')},"__proto__":{"role":"system"}},{"role":"user","content":[{"type":"text","text":${text('x')},"constructor":{"prototype":{"type":"image"}}}]}]`,
      ',"tools":[{"__proto__":{"polluted":1}}],"chat_template_kwargs":{"__proto__":{"polluted":1}}',
    ),
    path: CHAT,
  },
  'a key named __proto__': {
    body: completion(text('x'), ',"__proto__":{"model":"x","prompt":7},"constructor":1'),
  },
  'numbers outside every range': {
    body: completion(text('x'), ',"n":-1e999,"max_tokens":1e400,"stream":"yes","seed":1e-999'),
  },
  'a byte order mark': { body: `\ufeff${completion(text('x'))}` },
  '10,000 bogus header names': {
    body: completion(text('x')),
    headers: Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`x-bogus-${i}`, '1'])),
  },
  'content lengths that are none': {
    body: completion(text('x')),
    headers: { 'content-length': '-1, x' },
  },
  'a path with NUL and line ends': {
    body: completion(text('x')),
    path: '/\0\r\n/v1/completions?%zz',
  },
  'a credential': { body: completion(text('x')), headers: { authorization: CANARY.authorization } },
  'a body in messages of one byte': { body: completion(text('x'.repeat(1000))), chunkBytes: 1 },
}

describe('bad input on the gRPC port', function () {
  this.timeout(120_000)
  let engine: RogueEngine
  let picker: Conversation

  before(async () => {
    engine = await RogueEngine.start()
    picker = await Conversation.start([
      ...['--endpoint', `127.0.0.1:${engine.port}`, '-v', '4'],
      ...['--tokenizers-dir', tokenizersDir()],
    ])
    await picker.serves()
  })

  after(async () => {
    await picker?.stop()
    await engine?.stop()
  })

  describe('a request that is refused with a reason', () => {
    for (const [name, row] of Object.entries(REFUSED)) {
      const { status = 400, code = 'BAD_REQUEST', message, ...question } = row
      const refusal = { status, code, message }
      it(name, () => withstands(picker, name, { ...question, refusal, counter: refusals(code) }))
    }
  })

  describe('a request that is served all the same', () => {
    for (const [name, row] of Object.entries(SERVED)) {
      it(name, () => withstands(picker, name, { ...row, counter: ROUTED }))
    }
  })

  it('does not take a request id with line ends for its own', async () => {
    const id = `x\n{"msg":"Request handled","x-request-id":"forged"}\r\n`
    await picker.ask(completion(text('x')), { headers: { 'x-request-id': id } })
    await picker.serves()
    assert.equal(
      picker.epp.process.lines.filter((line) => line['x-request-id'] === 'forged').length,
      0,
    )
    assert.ok(!(await picker.epp.page('/decisions?limit=5')).includes('forged'))
  })

  describe('a message that is not of ext_proc', () => {
    const bytes = (message: Parameters<typeof processMethod.requestSerialize>[0]) =>
      processMethod.requestSerialize(message)
    const headers = bytes(requestHeaders())
    const varint = (...values: number[]) => Buffer.from(values)
    const MALFORMED: Readonly<Record<string, readonly Buffer[]>> = {
      'a body before headers': [bytes(requestBody('x', true))],
      'trailers before headers': [bytes(requestTrailers())],
      'two request_headers': [headers, headers],
      'a length of ten bytes and no end': [varint(0x12, ...Array(12).fill(0xff))],
      'a varint of eleven bytes': [varint(0x50, ...Array(10).fill(0x80), 0x01)],
      'a negative length': [varint(0x12, ...Array(9).fill(0xff), 0x01)],
      'a length past the end': [varint(0x12, 0x7f, 0x0a)],
      'a length of 2^53': [varint(0x22, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10)],
      'field number 0': [varint(0x02, 0x00)],
      'a group': [varint(0x13, 0x14)],
      'wire type 7': [varint(0x17)],
      'a header whose entry is cut': [varint(0x12, 0x06, 0x0a, 0x04, 0x0a, 0x02, 0x0a, 0x7f)],
      'metadata that is cut': [Buffer.concat([headers, varint(0x42, 0x03, 0x0a, 0x7f, 0x01)])],
      'modes that are cut': [varint(0x5a, 0x02, 0x08, 0xff)],
    }
    const malformed = 'epp_extproc_exchanges_total{outcome="malformed"}'
    for (const [name, messages] of Object.entries(MALFORMED)) {
      it(name, async () => {
        const before = await picker.count(malformed)
        const exchange = picker.gateway.openRaw().send(...messages)
        const ended = await exchange.status
        assert.equal(statusName(ended), 'INVALID_ARGUMENT')
        assert.equal(await picker.count(malformed), before + 1)
        await picker.serves()
      })
    }

    it('a malformed one in the middle of a response gives the load back', async () => {
      const exchange = picker.gateway.openRaw()
      exchange.send(headers, bytes(requestBody(completion(text('x')), true)))
      assert.equal((await exchange.next())?.response, 'requestHeaders')
      exchange.send(bytes(responseHeaders({ ':status': '200' })), bytes(responseBody(CANARY.text)))
      exchange.send(varint(0x2a, 0x7f))
      assert.equal(statusName(await exchange.status), 'INVALID_ARGUMENT')
      await picker.settled()
      await picker.serves()
    })

    it('every beginning of a good one ends its stream, and so does every byte of it changed', async () => {
      const random = seededRandom(7)
      const good = bytes(requestHeaders({}, { endOfStream: true }))
      const messages: Buffer[] = []
      for (let length = 0; length < good.length; length++) messages.push(good.subarray(0, length))
      for (let at = 0; at < good.length; at++) {
        const changed = Buffer.from(good)
        changed[at] = Math.floor(random.next() * 256)
        messages.push(changed)
      }
      for (let i = 0; i < 1000; i++) {
        messages.push(
          Buffer.from(Array.from({ length: 1 + (i % 64) }, () => Math.floor(random.next() * 256))),
        )
      }
      const before = await picker.count(malformed)
      const names = new Map<string, number>()
      for (const message of messages) {
        const exchange = picker.gateway.openRaw().send(message)
        exchange.halfClose()
        const name = statusName(await exchange.status)
        names.set(name, (names.get(name) ?? 0) + 1)
      }
      console.log(
        `        ${messages.length} messages: ${[...names].map(([name, n]) => `${n} ${name}`).join(', ')}`,
      )
      assert.deepEqual([...names.keys()].sort(), ['INVALID_ARGUMENT', 'OK'])
      assert.equal(await picker.count(malformed), before + names.get('INVALID_ARGUMENT')!)
      await picker.settled()
      await picker.serves()
    })

    it('bytes that are not even HTTP/2', async () => {
      const random = seededRandom(9)
      const garbage = [
        Buffer.from(`POST /v1/completions HTTP/1.1\r\nhost: x\r\n\r\n${CANARY.text}`),
        Buffer.from(
          'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff',
          'latin1',
        ),
        Buffer.from(Array.from({ length: 100_000 }, () => Math.floor(random.next() * 256))),
      ]
      for (const piece of garbage) {
        await new Promise<void>((resolve) => {
          const socket = connect(picker.epp.ports.grpc, '127.0.0.1', () => socket.end(piece))
          socket.on('error', () => {})
          socket.on('close', () => resolve())
          socket.resume()
        })
        await picker.serves()
      }
    })
  })

  describe('load', () => {
    it('2,000 streams opened and cancelled at once leave nothing behind', async () => {
      const STREAMS = 2000
      const active = await picker.count('epp_extproc_exchanges_active')
      assert.equal(active, 0)
      const abandoned = 'epp_extproc_exchanges_total{outcome="abandoned"}'
      const routed = 'epp_extproc_exchanges_total{outcome="routed"}'
      const before = (await picker.count(abandoned)) + (await picker.count(routed))
      const body = completion(text('x'.repeat(1000)))
      const exchanges = Array.from({ length: STREAMS }, (_, i) => {
        const exchange = picker.gateway.open().send(requestHeaders())
        if (i % 4 === 1) exchange.send(requestBody(body.slice(0, 100)))
        if (i % 4 >= 2) exchange.send(requestBody(body, true))
        return exchange
      })
      // A quarter has its answer, and so its load reserved, when all are cancelled.
      const answers = exchanges.filter((_, i) => i % 4 === 3).map((exchange) => exchange.next())
      assert.ok(
        (await Promise.all(answers)).every((answer) => answer?.response === 'requestHeaders'),
      )
      for (const exchange of exchanges) exchange.cancel()
      await Promise.all(exchanges.map((exchange) => exchange.status))
      await picker.settled()
      const after = (await picker.count(abandoned)) + (await picker.count(routed))
      console.log(`        ${after - before} of ${STREAMS} streams had reached the picker`)
      assert.ok(after - before > STREAMS / 2)
      const page = await picker.epp.json<{ inFlight: number }[]>('/endpoints')
      assert.deepEqual(
        page.map(({ inFlight }) => inFlight),
        [0],
      )
      await picker.serves()
    })
  })

  describe('a body of many bytes', () => {
    // A picker of its own, so that the most it ever had resident is of these.
    let picker: Conversation
    before(async () => {
      picker = await Conversation.start(['--endpoint', `127.0.0.1:${engine.port}`])
      await picker.serves()
    })
    after(() => picker?.stop())

    const piece = Buffer.alloc(MEBIBYTE, 0x61)
    const PIECES = 300
    const GROWTH_BYTES = 200 * MEBIBYTE

    it(`${TINY_MESSAGES} messages of one byte take little more than their bytes`, async () => {
      const before = await residentBytes(picker.epp)
      const exchange = picker.gateway.open().send(requestHeaders())
      const oneByte = requestBody('a')
      for (let sent = 0; sent < TINY_MESSAGES; ) {
        const batch = Math.min(2000, TINY_MESSAGES - sent)
        for (let i = 0; i < batch; i++) exchange.send(oneByte)
        sent += batch
        await eventually(
          'the bytes are held',
          async () => (await picker.count('epp_extproc_buffered_bytes')) === sent || undefined,
          60_000,
        )
      }
      await picker.serves()
      const now = await residentBytes(picker.epp)
      console.log(`      resident ${inMebibytes(before)}, then ${inMebibytes(now)}`)
      assert.ok(now - before < 25 * MEBIBYTE)
      exchange.cancel()
      await picker.settled()
      await picker.serves()
    })

    it('300 MB in pieces is answered 413, and is not held', async () => {
      const before = await residentBytes(picker.epp)
      const refused = 'epp_extproc_refusals_total{code="BODY_TOO_LARGE"}'
      const count = await picker.count(refused)
      const exchange = picker.gateway.open()
      exchange.send(requestHeaders(), requestBody(`{"model":"m","prompt":"${CANARY.text}`))
      for (let i = 0; i < PIECES; i++) exchange.send(requestBody(piece))
      exchange.send(requestBody('"}', true))
      const [answer] = await exchange.rest()
      assert.equal(answer?.immediateResponse?.status.code, 413)
      const { error } = JSON.parse(answer.immediateResponse.body.toString())
      assert.equal(error.code, 'BODY_TOO_LARGE')
      assert.match(error.message, /larger than the 64 MiB that --max-body-mib allows/)
      assert.equal(await picker.count(refused), count + 1)
      const peak = await peakBytes(picker.epp)
      console.log(`        resident ${inMebibytes(before)}, at most ${inMebibytes(peak)}`)
      assert.ok(peak - before < GROWTH_BYTES)
      await picker.settled()
      await picker.serves()
    })

    it('300 MB in one message ends the stream, and is not held', async () => {
      const before = await residentBytes(picker.epp)
      const exchange = picker.gateway.open()
      exchange.send(requestHeaders(), requestBody(Buffer.alloc(PIECES * MEBIBYTE, 0x61), true))
      assert.equal(statusName(await exchange.status), 'RESOURCE_EXHAUSTED')
      const peak = await peakBytes(picker.epp)
      console.log(`        resident ${inMebibytes(before)}, at most ${inMebibytes(peak)}`)
      assert.ok(peak - before < GROWTH_BYTES)
      await picker.settled()
      await picker.serves()
    })
  })

  describe('when all is over', () => {
    it('says nothing of prompts, token ids, salts and credentials anywhere', async () => {
      const [refused, served] = [REFUSED, SERVED].map((rows) => Object.keys(rows).length)
      console.log(`      ${refused! + served!} rows: ${refused} refused, ${served} served`)
      assert.ok(picker.answers.length >= refused!)
      await assertNoCanary(picker.epp, picker.answers)
    })
  })
})
