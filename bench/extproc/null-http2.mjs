// A picker that does nothing, on node:http2 with framing of its own: all messages of one data event are read in place and
// answered with one write. It names a constant destination and returns every byte: the floor for any picker in Node.
// Usage: node null-http2.mjs PORT HOST:PORT
import { createServer } from 'node:http2'

const [port, destination] = process.argv.slice(2)

const REQUEST_BODY = 4
const RESPONSE_BODY = 5
const RESPONSE_HEADERS = 3

const varint = (value) => {
  const bytes = []
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128)
  return [...bytes, value]
}
const field = (number, bytes) =>
  Buffer.concat([Buffer.from([...varint((number << 3) | 2), ...varint(bytes.length)]), bytes])
const frame = (message) => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

const option = field(
  1,
  Buffer.concat([
    field(1, Buffer.from('x-gateway-destination-endpoint')),
    field(3, Buffer.from(destination)),
  ]),
)
const common = Buffer.concat([field(2, field(1, option)), Buffer.from([5 << 3, 1])])
const ROUTED = frame(field(1, field(1, common)))
const RESPONSE_HEADERS_ANSWER = frame(field(2, field(1, Buffer.alloc(0))))

const varintBytes = (value) => (value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4)
const put = (out, at, value) => {
  for (; value > 127; value >>>= 7) out[at++] = (value & 127) | 128
  out[at++] = value
  return at
}

/** Lengths of the messages around an HttpBody of `length` bytes, the outermost last. */
const nested = (length) => {
  const lengths = []
  for (let i = 0; i < 4; i++) lengths.push((length = 1 + varintBytes(length) + length))
  return lengths
}

/** kind { response { body_mutation { streamed_response } } }: an HttpBody has the fields of a StreamedBodyResponse. */
const writeBody = (out, at, kind, source, start, length) => {
  const [mutation, commonLength, response, whole] = nested(length)
  out[at] = 0
  out.writeUInt32BE(whole, at + 1)
  at += 5
  out[at++] = (kind << 3) | 2
  at = put(out, at, response)
  out[at++] = (1 << 3) | 2
  at = put(out, at, commonLength)
  out[at++] = (3 << 3) | 2
  at = put(out, at, mutation)
  out[at++] = (3 << 3) | 2
  at = put(out, at, length)
  source.copy(out, at, start, start + length)
  return at + length
}

const server = createServer({
  settings: { maxConcurrentStreams: 10_000, initialWindowSize: 1 << 24, maxFrameSize: 1 << 20 },
})
server.on('session', (session) => session.setLocalWindowSize?.(1 << 26))
server.on('stream', (stream) => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  stream.on('error', (error) => console.error(error.message))
  let rest
  const held = []
  stream.on('data', (chunk) => {
    if (rest) chunk = Buffer.concat([rest, chunk])
    rest = undefined
    let at = 0
    const parts = []
    let total = 0
    const body = (kind, source, start, length) => {
      parts.push({ kind, source, start, length })
      total += nested(length)[3] + 5
    }
    const constant = (source) => {
      parts.push({ kind: 0, source, start: 0, length: source.length })
      total += source.length
    }
    while (chunk.length - at >= 5) {
      const length = chunk.readUInt32BE(at + 1)
      if (chunk.length - at - 5 < length) break
      let p = at + 5
      const end = p + length
      at = end
      let kind = 0
      let start = 0
      let size = 0
      while (p < end) {
        let tag = chunk[p++]
        if (tag > 127) tag = (tag & 127) | (chunk[p++] << 7)
        if ((tag & 7) !== 2) {
          while (chunk[p++] > 127);
          continue
        }
        let bytes = 0
        let shift = 0
        let byte
        do {
          byte = chunk[p++]
          bytes |= (byte & 127) << shift
          shift += 7
        } while (byte > 127)
        if (tag >> 3 >= 2 && tag >> 3 <= 7) {
          kind = tag >> 3
          start = p
          size = bytes
        }
        p += bytes
      }
      if (kind === REQUEST_BODY) {
        held.push(Buffer.from(chunk.subarray(start, start + size)))
        const ends = size >= 2 && chunk[start + size - 1] === 1 && chunk[start + size - 2] === 16
        if (!ends) continue
        constant(ROUTED)
        for (const piece of held) body(3, piece, 0, piece.length)
      } else if (kind === RESPONSE_BODY) {
        body(4, chunk, start, size)
      } else if (kind === RESPONSE_HEADERS) {
        constant(RESPONSE_HEADERS_ANSWER)
      }
    }
    if (at < chunk.length) rest = Buffer.from(chunk.subarray(at))
    if (parts.length === 0) return
    const out = Buffer.allocUnsafe(total)
    let position = 0
    for (const { kind, source, start, length } of parts) {
      if (kind) position = writeBody(out, position, kind, source, start, length)
      else position += source.copy(out, position)
    }
    stream.write(out)
  })
  stream.on('end', () => stream.end())
})
server.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${server.address().port}`))
