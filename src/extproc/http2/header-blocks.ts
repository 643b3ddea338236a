import { type DecodedHeaders, HeaderDecoder } from './header-decoder.ts'
import { ConnectionError, ERROR, FLAG, FRAME } from './protocol.ts'

/** The header blocks of one connection, which may come in several frames. Source: RFC 9113, sections 4.3, 6.2 and 6.10. */
export class HeaderBlocks {
  readonly #decoder: HeaderDecoder
  readonly #maxBytes: number
  #parts: Buffer[] = []
  #bytes = 0
  /** The stream whose block has not come whole; 0 when there is none. */
  #openId = 0
  /** True when the stream of the block that came last ends with it. */
  endsStream = false

  /** @param maxBytes of one block, encoded or decoded */
  constructor(maxBytes: number) {
    this.#decoder = new HeaderDecoder(maxBytes)
    this.#maxBytes = maxBytes
  }

  /** @throws {ConnectionError} where a frame comes while a block is not whole */
  expect(type: number, streamId: number): void {
    const isPart = type === FRAME.continuation
    if (isPart ? this.#openId !== 0 && this.#openId === streamId : this.#openId === 0) return
    throw new ConnectionError(ERROR.protocol, 'a header block and other frames come mixed')
  }

  /**
   * Takes the part `bytes[start, end)` of a block, which `expect` was asked about.
   *
   * @returns the headers when they are whole
   * @throws {ConnectionError} where they cannot be read, or their block is too long
   */
  add(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): DecodedHeaders | undefined {
    if (type === FRAME.headers) this.endsStream = (flags & FLAG.endStream) !== 0
    const isLast = (flags & FLAG.endHeaders) !== 0
    if (isLast && this.#openId === 0) return this.#decoder.decode(bytes, start, end)
    this.#bytes += end - start
    if (this.#bytes > this.#maxBytes || this.#parts.length > this.#maxBytes / MIN_PART_BYTES) {
      throw new ConnectionError(ERROR.enhanceYourCalm, 'a header block is too long')
    }
    this.#parts.push(Buffer.from(bytes.subarray(start, end)))
    this.#openId = isLast ? 0 : streamId
    if (!isLast) return undefined
    const block = Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    return this.#decoder.decode(block, 0, block.length)
  }
}

/** Parts of a block are that long on the average, or they are an attack. */
const MIN_PART_BYTES = 256
