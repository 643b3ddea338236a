import type { BodyPieces } from './body-pieces.ts'
import { FRAME_HEAD_BYTES, putFrameHead } from './grpc/frames.ts'
import { BackwardWriter, LENGTH_DELIMITED, putVarint, varintBytes } from './wire.ts'

// Answers are whole gRPC frames: the head that says the length, and one message.

/** Which answer it is: the field number in `ProcessingResponse`. */
export const ANSWER = {
  requestHeaders: 1,
  responseHeaders: 2,
  requestBody: 3,
  responseBody: 4,
  requestTrailers: 5,
  responseTrailers: 6,
  immediate: 7,
} as const

/**
 * Body bytes in one answer: what llm-d-router sends as well. Some gateways refuse gRPC messages over 64 KiB.
 */
export const MAX_CHUNK_BYTES = 62_000

/**
 * Name of the header, and of the key in the dynamic metadata, that names the destination (GIE proposal 004, endpoint
 * picker protocol v1.0.0, which wants both).
 */
export const DESTINATION = 'x-gateway-destination-endpoint'

const DYNAMIC_METADATA = 8
const MODE_OVERRIDE = 9
/** `ProcessingMode.HeaderSendMode.SKIP`. */
const SKIP = 2
const DESTINATION_NAMESPACE = 'envoy.lb'
/** `HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD`. */
const OVERWRITE = 2

const writer = new BackwardWriter(64 * 1024)

/** An answer that changes nothing. */
export function emptyAnswer(kind: number): Buffer {
  writer.nest(kind, writer.begin())
  return writer.takeFrame()
}

/** An answer to request headers that changes nothing and asks the gateway to keep the response, as `AnswerExtras` says. */
export function skippingAnswer(requestBodyMode: number): Buffer {
  writer.begin()
  overrideModes(requestBodyMode)
  writer.nest(ANSWER.requestHeaders, writer.mark())
  return writer.takeFrame()
}

/** What a routed request's answer says besides its body. */
export interface Destination {
  readonly destination: string
  readonly setHeaders: ReadonlyMap<string, string>
  readonly removeHeaders: readonly string[]
}

/** What an answer that names the destination may say besides. */
export interface AnswerExtras {
  /** The whole new body, for a buffered body that changed. */
  readonly body?: Uint8Array
  /**
   * Asks the gateway to keep the response to itself; of effect in an answer to headers where the gateway allows it
   * (`allow_mode_override`) and neither body is full duplex. The mode of the request's body must be said again.
   */
  readonly skipResponse?: { readonly requestBodyMode: number }
}

/**
 * The answer that names the destination, in the header and in the dynamic metadata.
 *
 * @param kind `requestHeaders`, or `requestBody` where the headers were answered before
 */
export function destinationAnswer(
  kind: typeof ANSWER.requestHeaders | typeof ANSWER.requestBody,
  routed: Destination,
  { body, skipResponse }: AnswerExtras = {},
): Buffer {
  const { header, metadata } = destinationFields(routed.destination)
  writer.begin()
  if (skipResponse !== undefined) overrideModes(skipResponse.requestBodyMode)
  writer.raw(metadata)
  const answer = writer.mark()
  writer.varint(5, 1) // clear_route_cache
  if (body !== undefined) {
    const bodyMutation = writer.mark()
    writer.bytes(1, body)
    writer.nest(3, bodyMutation)
  }
  const headerMutation = writer.mark()
  for (const name of routed.removeHeaders) writer.text(2, name)
  for (const [name, value] of routed.setHeaders) setHeader(name, value)
  writer.raw(header)
  writer.nest(2, headerMutation)
  writer.nest(1, answer)
  writer.nest(kind, answer)
  return writer.takeFrame()
}

/** The answer to a response's headers that sets some of them. */
export function responseHeadersAnswer(headers: ReadonlyMap<string, string>): Buffer {
  const answer = writer.begin()
  for (const [name, value] of headers) setHeader(name, value)
  writer.nest(2, answer)
  writer.nest(1, answer)
  writer.nest(ANSWER.responseHeaders, answer)
  return writer.takeFrame()
}

/** The answer to request trailers where neither headers nor body could carry the destination. */
export function trailersDestinationAnswer(destination: string): Buffer {
  const { metadata } = destinationFields(destination)
  writer.begin()
  writer.raw(metadata)
  writer.nest(ANSWER.requestTrailers, writer.mark())
  return writer.takeFrame()
}

/** Refuses the request: Envoy answers the client with this instead of asking an endpoint. */
export function immediateAnswer(
  status: number,
  headers: ReadonlyMap<string, string>,
  body: string,
  details: string,
): Buffer {
  const answer = writer.begin()
  writer.text(5, details)
  writer.text(3, body)
  const headerMutation = writer.mark()
  for (const [name, value] of headers) setHeader(name, value)
  writer.nest(2, headerMutation)
  const httpStatus = writer.mark()
  writer.varint(1, status)
  writer.nest(1, httpStatus)
  writer.nest(ANSWER.immediate, answer)
  return writer.takeFrame()
}

/**
 * Answers that hand a full duplex request body back: its bytes in order, not copied, in chunks of at most
 * `MAX_CHUNK_BYTES`. The last chunk ends the stream if `endOfStream`; an empty body then is one empty chunk.
 *
 * @returns the answers in parts, to be sent one after the other
 */
export function requestBodyAnswers(
  pieces: readonly Uint8Array[],
  endOfStream: boolean,
): Uint8Array[] {
  let rest = 0
  for (const piece of pieces) rest += piece.length
  const parts: Uint8Array[] = []
  if (rest === 0 && endOfStream)
    parts.push(chunkHead(ANSWER.requestBody, 0, true, 0), END_OF_STREAM)
  let index = 0
  let from = 0
  while (rest > 0) {
    let size = Math.min(rest, MAX_CHUNK_BYTES)
    rest -= size
    const ends = endOfStream && rest === 0
    parts.push(chunkHead(ANSWER.requestBody, size, ends, 0))
    while (size > 0) {
      const piece = pieces[index]!
      const count = Math.min(piece.length - from, size)
      parts.push(count === piece.length ? piece : piece.subarray(from, from + count))
      size -= count
      from += count
      if (from === piece.length) {
        index++
        from = 0
      }
    }
    if (ends) parts.push(END_OF_STREAM)
  }
  return parts
}

/**
 * Answers that hand a part of a full duplex response body back, cut as a request's: chunks that came together are one.
 *
 * @param see told the bytes of each chunk, where they lie in its answer
 */
export function responseBodyAnswers(
  body: BodyPieces,
  endOfStream: boolean,
  see?: (bytes: Buffer) => void,
): Buffer[] {
  const answers: Buffer[] = []
  do {
    const size = Math.min(body.bytes, MAX_CHUNK_BYTES)
    const ends = endOfStream && size === body.bytes
    if (size === 0 && !ends) break
    const tailBytes = ends ? END_OF_STREAM.length : 0
    const answer = chunkHead(ANSWER.responseBody, size, ends, size + tailBytes)
    const start = answer.length - size - tailBytes
    body.moveTo(answer, start, size)
    if (ends) answer.set(END_OF_STREAM, start + size)
    if (size > 0) see?.(answer.subarray(start, start + size))
    answers.push(answer)
  } while (body.bytes > 0)
  return answers
}

/** The field `end_of_stream`, set. */
const END_OF_STREAM = Buffer.of(2 * 8, 1)

/**
 * The beginning of an answer up to where `size` bytes of the body follow, and, if `endOfStream`, that field after them:
 * kind { response { body_mutation { streamed_response } } }.
 *
 * @param roomBytes left free at the end
 */
function chunkHead(kind: number, size: number, endOfStream: boolean, roomBytes: number): Buffer {
  const tailBytes = endOfStream ? END_OF_STREAM.length : 0
  const bodyHead = size === 0 ? 0 : 1 + varintBytes(size)
  const streamed = bodyHead + size + tailBytes
  const mutation = 1 + varintBytes(streamed) + streamed
  const common = 1 + varintBytes(mutation) + mutation
  const response = 1 + varintBytes(common) + common
  const length = 1 + varintBytes(response) + response
  const headBytes = FRAME_HEAD_BYTES + length - size - tailBytes
  const frame = Buffer.allocUnsafe(headBytes + roomBytes)
  let at = putFrameHead(frame, 0, length)
  at = open(frame, at, kind, response)
  at = open(frame, at, 1, common)
  at = open(frame, at, 3, mutation)
  at = open(frame, at, 3, streamed)
  if (size > 0) open(frame, at, 1, size)
  return frame
}

function open(message: Buffer, at: number, field: number, length: number): number {
  message[at] = field * 8 + LENGTH_DELIMITED
  return putVarint(message, at + 1, length)
}

/** `mode_override`: neither headers nor body nor trailers of the response. */
function overrideModes(requestBodyMode: number): void {
  const override = writer.mark()
  writer.varint(6, SKIP) // response_trailer_mode
  if (requestBodyMode !== 0) writer.varint(3, requestBodyMode)
  writer.varint(2, SKIP) // response_header_mode
  writer.nest(MODE_OVERRIDE, override)
}

/** Values go into `raw_value` only: Envoy reads no other, and refuses both at once. */
function setHeader(name: string, value: string): void {
  const option = writer.mark()
  writer.varint(3, OVERWRITE) // Envoy overwrites in any case; other gateways append unless told
  const header = writer.mark()
  writer.text(3, value)
  writer.text(1, name)
  writer.nest(1, header)
  writer.nest(1, option)
}

/** What names a destination: an entry of `set_headers`, and `dynamic_metadata`. */
interface DestinationFields {
  readonly header: Buffer
  readonly metadata: Buffer
}

/** There are few endpoints, hence few destinations. */
const MAX_DESTINATIONS = 1000
const destinations = new Map<string, DestinationFields>()

function destinationFields(destination: string): DestinationFields {
  const known = destinations.get(destination)
  if (known !== undefined) return known
  if (destinations.size === MAX_DESTINATIONS) destinations.clear()
  writer.begin()
  setHeader(DESTINATION, destination)
  const header = writer.take()
  writer.begin()
  destinationMetadata(destination)
  const fields = { header, metadata: writer.take() }
  destinations.set(destination, fields)
  return fields
}

/** `dynamic_metadata`: { "envoy.lb": { DESTINATION: destination } }, as a `google.protobuf.Struct`. */
function destinationMetadata(destination: string): void {
  const end = writer.mark()
  writer.text(3, destination)
  writer.nest(2, end)
  writer.text(1, DESTINATION)
  writer.nest(1, end)
  writer.nest(5, end)
  writer.nest(2, end)
  writer.text(1, DESTINATION_NAMESPACE)
  writer.nest(1, end)
  writer.nest(DYNAMIC_METADATA, end)
}
