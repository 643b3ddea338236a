import assert from 'node:assert/strict'
import { BodyPieces } from '../../src/extproc/body-pieces.ts'
import { BODY_MODE, MESSAGE, ProcessingRequest } from '../../src/extproc/processing-request.ts'
import {
  ANSWER,
  destinationAnswer,
  emptyAnswer,
  immediateAnswer,
  MAX_CHUNK_BYTES,
  requestBodyAnswers,
  responseBodyAnswers,
  responseHeadersAnswer,
  trailersDestinationAnswer,
} from '../../src/extproc/processing-response.ts'
import {
  answersIn,
  bodyOf,
  type ProcessingRequest as Message,
  metadataDestination,
  processMethod,
  removedHeaders,
  requestBody,
  requestHeaders,
  requestTrailers,
  responseBody,
  responseHeaders,
  responseTrailers,
  servedBy,
  setHeaders,
  streamed,
  subsetHint,
  unframed,
} from './client.ts'

const encode = (message: Message): Buffer => processMethod.requestSerialize(message)
const handedBack = (pieces: readonly Uint8Array[], ends: boolean) =>
  answersIn(requestBodyAnswers(pieces, ends))
const merged = (pieces: readonly Buffer[], ends: boolean) => {
  const body = new BodyPieces()
  for (const piece of pieces) body.add(piece, 0, piece.length)
  return answersIn(responseBodyAnswers(body, ends))
}
const decode = (frame: Buffer) => processMethod.responseDeserialize(unframed(frame))

function read(message: Message): ProcessingRequest {
  const request = new ProcessingRequest()
  assert.ok(request.read(encode(message)))
  return request
}

describe('ProcessingRequest', () => {
  it('reads what proto-loader writes, each kind of message', () => {
    const kinds: [Message, number, boolean][] = [
      [requestHeaders(), MESSAGE.requestHeaders, false],
      [requestHeaders({}, { endOfStream: true }), MESSAGE.requestHeaders, true],
      [requestBody('abc'), MESSAGE.requestBody, false],
      [requestBody('', true), MESSAGE.requestBody, true],
      [requestTrailers(), MESSAGE.requestTrailers, false],
      [responseHeaders({ ':status': '200' }), MESSAGE.responseHeaders, false],
      [responseHeaders({ ':status': '204' }, true), MESSAGE.responseHeaders, true],
      [responseBody('abc', true), MESSAGE.responseBody, true],
      [responseTrailers(), MESSAGE.responseTrailers, false],
      [{ metadataContext: {} }, MESSAGE.none, false],
    ]
    for (const [message, kind, endOfStream] of kinds) {
      const request = read(message)
      assert.deepEqual([request.kind, request.endOfStream], [kind, endOfStream])
    }
  })

  it('reads the bytes of a body of any length in place', () => {
    for (const length of [0, 1, 127, 128, 16_383, 16_384, 2_097_152]) {
      const body = Buffer.alloc(length, 'x')
      const bytes = encode(requestBody(body))
      const request = new ProcessingRequest()
      assert.ok(request.read(bytes))
      assert.ok(request.body().equals(body))
      assert.equal(request.body().buffer, bytes.buffer)
    }
  })

  it('reads headers: raw values first, names in lower case, repeated ones joined', () => {
    const request = read({
      requestHeaders: {
        headers: {
          headers: [
            { key: 'X-One', value: 'text' },
            { key: 'x-two', value: 'text', rawValue: Buffer.from('räw') },
            { key: 'accept', rawValue: Buffer.from('a') },
            { key: 'Accept', rawValue: Buffer.from('b') },
            { key: 'x-empty' },
          ],
        },
      },
    })
    assert.deepEqual(
      [...request.headers()!],
      [
        ['x-one', 'text'],
        ['x-two', 'räw'],
        ['accept', 'a, b'],
        ['x-empty', ''],
      ],
    )
  })

  it('reads a raw value that stands before the text', () => {
    const header = Buffer.from('\x1a\x03raw\x12\x04text\x0a\x01k', 'latin1')
    const map = Buffer.concat([Buffer.from([0x0a, header.length]), header])
    const headers = Buffer.concat([Buffer.from([0x0a, map.length]), map])
    const request = new ProcessingRequest()
    assert.ok(request.read(Buffer.concat([Buffer.from([0x12, headers.length]), headers])))
    assert.deepEqual([...request.headers()!], [['k', 'raw']])
  })

  it('reads the modes of the bodies, and that none are told', () => {
    const told = read({ ...requestBody('x'), protocolConfig: { requestBodyMode: 'BUFFERED' } })
    assert.deepEqual([told.hasModes, told.requestBodyMode, told.responseBodyMode], [true, 2, 0])
    assert.equal(read(requestBody('x')).hasModes, false)
  })

  it('reads a subset hint as a list, as a string, empty, or not at all', () => {
    const subset = (more: Partial<Message>) => read({ ...requestBody('x'), ...more }).subset()
    assert.deepEqual(subset(subsetHint(['10.0.0.1:8000', '[fd00::1]:8000'])), [
      '10.0.0.1:8000',
      '[fd00::1]:8000',
    ])
    assert.deepEqual(subset(subsetHint(' 10.0.0.1:8000,10.0.0.2 , ')), [
      '10.0.0.1:8000',
      '10.0.0.2',
    ])
    assert.deepEqual(subset(subsetHint([])), [])
    assert.equal(subset({ metadataContext: {} }), undefined)
    assert.equal(
      subset({ metadataContext: { filterMetadata: { 'envoy.lb': { fields: {} } } } }),
      undefined,
    )
    assert.equal(subset({}), undefined)
  })

  it('is used again without a trace of the message before', () => {
    const request = new ProcessingRequest()
    assert.ok(request.read(encode(requestHeaders({}, { endOfStream: true, ...subsetHint(['a']) }))))
    assert.ok(request.read(encode({ requestBody: {} })))
    assert.deepEqual(
      [
        request.kind,
        request.endOfStream,
        request.hasModes,
        request.body().length,
        request.subset(),
      ],
      [MESSAGE.requestBody, false, false, 0, undefined],
    )
  })

  it('reads which endpoint served, or that nothing says so', () => {
    const served = (more: Partial<Message>) =>
      read({ ...responseHeaders({ ':status': '200' }), ...more }).servedEndpoint()
    assert.equal(served(servedBy('10.0.0.1:8000')), '10.0.0.1:8000')
    assert.equal(served(servedBy('[fd00::1]:8000')), '[fd00::1]:8000')
    assert.equal(served(servedBy('')), undefined)
    assert.equal(served(subsetHint(['10.0.0.1:8000'])), undefined)
    assert.equal(served({ metadataContext: {} }), undefined)
    const cut = encode({ ...responseHeaders({}), ...servedBy('10.0.0.1:8000') })
    const at = cut.indexOf('10.0.0.1:8000')
    cut[at - 1] = 0x7f
    const request = new ProcessingRequest()
    assert.ok(request.read(cut))
    assert.equal(request.servedEndpoint(), null)
  })

  it('passes fields that it does not know, of every wire type', () => {
    const unknown = Buffer.from([
      ...[0x60, 0x96, 0x01], // field 12, a varint
      ...[0x69, 1, 2, 3, 4, 5, 6, 7, 8], // field 13, eight bytes
      ...[0x75, 1, 2, 3, 4], // field 14, four bytes
      ...[0xfa, 0x01, 0x02, 0x08, 0x01], // field 31, a message
    ])
    const request = new ProcessingRequest()
    assert.ok(request.read(Buffer.concat([unknown, encode(requestBody('abc', true)), unknown])))
    assert.equal(request.body().toString(), 'abc')
  })

  const broken: [string, number[]][] = [
    ['a length past the end', [0x22, 0x05, 0x0a]],
    ['a nested length past its message', [0x22, 0x02, 0x0a, 0x7f]],
    ['a varint without end', [0x50, ...Array(11).fill(0xff)]],
    ['a cut varint', [0x50, 0xff]],
    ['field number 0', [0x02, 0x00]],
    ['a group', [0x23, 0x24]],
    ['a cut fixed word', [0x0d, 1, 2]],
    ['text', [...Buffer.from('GET / HTTP/1.1\r\n\r\n')]],
  ]
  for (const [name, bytes] of broken) {
    it(`refuses ${name}`, () => {
      assert.equal(new ProcessingRequest().read(Buffer.from(bytes)), false)
    })
  }

  it('never throws on random bytes, nor on messages with bytes changed', () => {
    let state = 11
    const random = (bound: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * bound)
    }
    const samples = [
      encode(requestHeaders({ 'x-a': 'b' }, subsetHint(['10.0.0.1:8000', '10.0.0.2:8000']))),
      encode(requestHeaders({}, subsetHint('10.0.0.1:8000'))),
      encode(requestBody('{"model":"m"}', true)),
      encode(responseHeaders({ ':status': '200' })),
      encode({ ...responseHeaders({ ':status': '200' }), ...servedBy('10.0.0.1:8000') }),
    ]
    const request = new ProcessingRequest()
    let taken = 0
    for (let i = 0; i < 60_000; i++) {
      const sample = samples[i % samples.length]!
      let bytes: Buffer
      if (i % 3 === 0) {
        bytes = Buffer.from(Array.from({ length: random(40) }, () => random(256)))
      } else {
        bytes = Buffer.from(sample.subarray(0, i % 3 === 1 ? sample.length : random(sample.length)))
        for (let n = random(4); n > 0 && bytes.length > 0; n--)
          bytes[random(bytes.length)] = random(256)
      }
      if (!request.read(bytes)) continue
      taken++
      request.body()
      request.headers()
      request.subset()
      request.servedEndpoint()
    }
    assert.ok(taken > 1000)
  })
})

describe('processing responses', () => {
  const routed = {
    destination: '10.0.0.1:8000,[fd00::1]:8000',
    setHeaders: new Map([
      ['x-request-id', 'r'],
      ['x-name', 'ü'],
    ]),
    removeHeaders: ['x-a', 'x-b'],
  }

  it('name the destination in header and metadata, as proto-loader reads them', () => {
    const answer = decode(destinationAnswer(ANSWER.requestHeaders, routed))
    assert.equal(answer.response, 'requestHeaders')
    assert.equal(answer.requestHeaders?.response?.clearRouteCache, true)
    assert.deepEqual(setHeaders(answer), {
      'x-gateway-destination-endpoint': routed.destination,
      'x-request-id': 'r',
      'x-name': 'ü',
    })
    assert.deepEqual(removedHeaders(answer).toSorted(), ['x-a', 'x-b'])
    assert.equal(metadataDestination(answer), routed.destination)
    for (const option of answer.requestHeaders?.response?.headerMutation?.setHeaders ?? []) {
      assert.ok(!option.header.value)
      assert.equal(option.appendAction, 2)
    }
  })

  it('name it in the answer to a buffered body, with the body when it changed', () => {
    const same = decode(destinationAnswer(ANSWER.requestBody, routed))
    assert.equal(setHeaders(same)['x-gateway-destination-endpoint'], routed.destination)
    assert.equal(same.requestBody?.response?.bodyMutation, undefined)
    const big = Buffer.alloc(200_000, 'y')
    const changed = decode(destinationAnswer(ANSWER.requestBody, routed, { body: big }))
    assert.ok(changed.requestBody?.response?.bodyMutation?.body?.equals(big))
    assert.equal(metadataDestination(changed), routed.destination)
  })

  it('ask the gateway to keep the response, the mode of the request body said again', () => {
    const skipResponse = { requestBodyMode: BODY_MODE.streamed }
    const answer = decode(destinationAnswer(ANSWER.requestHeaders, routed, { skipResponse }))
    assert.deepEqual(
      { ...(answer.modeOverride as object) },
      {
        responseHeaderMode: 'SKIP',
        requestBodyMode: 'STREAMED',
        responseTrailerMode: 'SKIP',
      },
    )
    assert.equal(setHeaders(answer)['x-gateway-destination-endpoint'], routed.destination)
    assert.equal(metadataDestination(answer), routed.destination)
    assert.equal(decode(destinationAnswer(ANSWER.requestHeaders, routed)).modeOverride, undefined)
  })

  it('name it in the metadata of an answer to trailers', () => {
    const answer = decode(trailersDestinationAnswer('10.0.0.1:8000'))
    assert.equal(answer.response, 'requestTrailers')
    assert.equal(metadataDestination(answer), '10.0.0.1:8000')
  })

  it('set headers of the response, in raw values, and nothing else', () => {
    const headers = new Map([
      ['x-session-token', 'abc='],
      ['x-empty', ''],
    ])
    const answer = decode(responseHeadersAnswer(headers))
    assert.equal(answer.response, 'responseHeaders')
    assert.deepEqual(setHeaders(answer), Object.fromEntries(headers))
    const { response } = answer.responseHeaders!
    assert.ok(!response?.clearRouteCache)
    assert.ok(!response?.bodyMutation)
    assert.deepEqual(response?.headerMutation?.removeHeaders ?? [], [])
    for (const { header, appendAction } of response?.headerMutation?.setHeaders ?? []) {
      assert.ok(!header.value)
      assert.equal(appendAction, 2)
    }
  })

  it('change nothing when empty', () => {
    for (const [field, kind] of Object.entries(ANSWER)) {
      if (kind === ANSWER.immediate) continue
      const answer = decode(emptyAnswer(kind))
      assert.equal(answer.response, field)
      assert.equal(answer.dynamicMetadata, undefined)
    }
  })

  it('refuse with status, headers, body and details', () => {
    const answer = decode(
      immediateAnswer(429, new Map([['retry-after', '1']]), '{"a":"ü"}', 'epp_x'),
    )
    assert.equal(answer.immediateResponse?.status.code, 429)
    assert.deepEqual(setHeaders(answer), { 'retry-after': '1' })
    assert.equal(answer.immediateResponse?.body.toString(), '{"a":"ü"}')
    assert.equal(answer.immediateResponse?.details, 'epp_x')
  })

  it('cut a body anew into chunks of at most 62,000 bytes, with one end', () => {
    const sizes = [
      [0],
      [1],
      [62_000],
      [62_001],
      [32_768, 32_768, 32_768, 5],
      [124_000],
      [10, 0, 61_990, 1],
      [300_000, 7],
    ]
    for (const field of ['requestBody', 'responseBody'] as const) {
      for (const pieceSizes of sizes) {
        const pieces = pieceSizes.map((size, i) => Buffer.alloc(size, `abcdefg${i}`))
        const whole = Buffer.concat(pieces)
        for (const ends of [true, false]) {
          const answers = field === 'requestBody' ? handedBack(pieces, ends) : merged(pieces, ends)
          assert.ok(bodyOf(answers, field).equals(whole))
          const wanted = Math.ceil(whole.length / MAX_CHUNK_BYTES)
          assert.equal(answers.length, whole.length === 0 && ends ? 1 : wanted)
          const chunks = answers.map((answer) => streamed(answer, field)!)
          assert.ok(chunks.every(({ body }) => body.length <= MAX_CHUNK_BYTES))
          assert.deepEqual(
            chunks.map(({ endOfStream }) => endOfStream),
            chunks.map((_, i) => ends && i === chunks.length - 1),
          )
        }
      }
    }
  })

  it('do not copy a request body, and take pieces that are no Buffers', () => {
    const pieces = [Uint8Array.of(97, 98), Uint8Array.of(99)]
    const parts = requestBodyAnswers(pieces, true)
    assert.ok(pieces.every((piece) => parts.includes(piece)))
    assert.equal(bodyOf(handedBack(pieces, true), 'requestBody').toString(), 'abc')
  })

  it('show the bytes of a response once, in order', () => {
    const seen: string[] = []
    const body = new BodyPieces()
    body.add(Buffer.from('-abc-'), 1, 4)
    body.add(Buffer.from('def'), 0, 3)
    responseBodyAnswers(body, false, (bytes) => seen.push(bytes.toString()))
    assert.deepEqual([seen, body.bytes], [['abcdef'], 0])
    assert.deepEqual(
      responseBodyAnswers(body, false, () => assert.fail()),
      [],
    )
    assert.equal(responseBodyAnswers(body, true, () => assert.fail()).length, 1)
  })

  it('hold no bytes of a response that were moved out, and take others after them', () => {
    const body = new BodyPieces()
    for (let round = 0; round < 3; round++) {
      const pieces = Array.from({ length: 3 + round }, (_, i) => Buffer.from(`${round}${i}ab`))
      for (const piece of pieces) body.add(piece, 0, piece.length)
      assert.equal(body.bytes, Buffer.concat(pieces).length)
      const target = Buffer.alloc(body.bytes)
      body.moveTo(target, 0, 5)
      body.moveTo(target, 5, target.length - 5)
      assert.deepEqual(target, Buffer.concat(pieces))
      assert.equal(body.bytes, 0)
    }
    body.add(Buffer.from('gone'), 0, 4)
    body.clear()
    assert.deepEqual(responseBodyAnswers(body, false), [])
  })

  it('leave nothing behind when one fails', () => {
    const bad = { ...routed, setHeaders: new Map([['x', undefined as unknown as string]]) }
    assert.throws(() => destinationAnswer(ANSWER.requestHeaders, bad))
    assert.equal(
      setHeaders(decode(destinationAnswer(ANSWER.requestHeaders, routed)))['x-name'],
      'ü',
    )
  })
})
