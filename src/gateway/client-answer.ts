import type { Writable } from 'node:stream'
import type { Routed } from '../framework/services.ts'
import { type ClientResponse, isHttp2 } from './answer.ts'
import { chunkOf, chunkPrefixBytes, LAST_CHUNK, takesChunks } from './body-framing.ts'
import {
  type GivenHeaders,
  headerMap,
  headerRecord,
  responseHeaders,
  setHeader,
} from './headers.ts'

/** An engine's answer on its way to the client: what one read from the engine brings is written together. */
export class ClientAnswer {
  readonly #response: ClientResponse
  /** The same, to write to. */
  readonly #sink: Writable
  readonly #routed: Routed
  readonly #waits: () => void
  /** True where the body is written in chunks of our own. */
  #writesChunks = false
  /** Pieces of the body that wait for the end of the turn. */
  #pieces: Buffer[] = []
  #bytes = 0
  #isFlushDue = false
  #isOver = false

  /** @param waits is told when the client has to read first */
  constructor(response: ClientResponse, routed: Routed, waits: () => void) {
    this.#response = response
    this.#sink = response
    this.#routed = routed
    this.#waits = waits
  }

  /**
   * Writes the headers, which go with what of the body comes in the same turn.
   *
   * @param endpoint `host:port` that answers
   * @param closes true where the connection is not used again
   * @throws what Node says of headers that no client could read
   */
  begin(status: number, given: GivenHeaders, endpoint: string, closes: boolean): void {
    const response = this.#response
    const routed = this.#routed
    const headers = responseHeaders(given)
    if (routed.watchResponse) {
      const wanted = routed.responseHeaders(status, headerMap(status, headers), endpoint)
      for (const [name, value] of wanted ?? []) setHeader(headers, name, value)
    }
    setHeader(headers, 'x-request-id', routed.requestId)
    if (isHttp2(response)) response.writeHead(status, headerRecord(headers))
    else {
      if (closes) headers.push('connection', 'close')
      response.writeHead(status, headers)
    }
    this.#writesChunks = takesChunks(response)
    // The first token may be long in coming.
    this.#flushSoon()
  }

  /** @param piece of the body, not to be changed any more */
  add(piece: Buffer): void {
    this.#pieces.push(piece)
    this.#bytes += piece.length
    this.#flushSoon()
  }

  /** Writes what has been added, and the body's end. */
  end(): void {
    this.#isOver = true
    if (this.#bytes > 0) this.#sink.end(this.#take(true))
    else if (this.#writesChunks) this.#sink.end(LAST_CHUNK)
    else this.#sink.end()
  }

  /** Writes nothing any more. */
  drop(): void {
    this.#isOver = true
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    process.nextTick(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isFlushDue = false
    if (this.#isOver) return
    if (this.#bytes > 0) {
      if (!this.#sink.write(this.#take(false))) this.#waits()
      // HTTP/2 has sent its headers already.
    } else if (!isHttp2(this.#response)) this.#response.flushHeaders()
  }

  /** What has been added, as it is to be written; the router is told of it. */
  #take(isLast: boolean): Buffer {
    const routed = this.#routed
    const pieces = this.#pieces
    const bytes = this.#bytes
    this.#pieces = []
    this.#bytes = 0
    if (!this.#writesChunks) {
      const body = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, bytes)
      if (routed.watchResponse) routed.responseBody(body)
      return body
    }
    const prefixBytes = chunkPrefixBytes(bytes)
    const chunk = chunkOf(pieces, bytes, prefixBytes, isLast)
    if (routed.watchResponse) routed.responseBody(chunk.subarray(prefixBytes, prefixBytes + bytes))
    return chunk
  }
}
