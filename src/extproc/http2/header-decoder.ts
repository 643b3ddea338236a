import { decodeHuffman } from './huffman.ts'
import { ConnectionError, DEFAULT_TABLE_BYTES, ERROR } from './protocol.ts'
import { type Header, STATIC_TABLE } from './static-table.ts'

/** What an entry of a table is counted as besides its name and value. Source: RFC 7541, section 4.1. */
const ENTRY_BYTES = 32
const NO_BYTES = Buffer.alloc(0)
/** No length or index is larger. */
const MAX_INTEGER = 2 ** 28

/** The headers of one block. */
export interface DecodedHeaders {
  readonly headers: readonly Header[]
  /** What they are counted as. Source: RFC 9113, section 6.5.2. */
  readonly bytes: number
  /** True where they are more than is kept: `headers` are not all. */
  readonly isTooLarge: boolean
}

/** Decodes the header blocks of one connection, in the order in which they come: HPACK. Source: RFC 7541. */
export class HeaderDecoder {
  readonly #maxListBytes: number
  /** The oldest comes first. */
  readonly #table: Header[] = []
  #tableBytes = 0
  #maxTableBytes = DEFAULT_TABLE_BYTES
  #bytes: Buffer = NO_BYTES
  #at = 0
  #end = 0

  /** @param maxListBytes of one block's headers, counted as RFC 9113, section 6.5.2, counts them */
  constructor(maxListBytes: number) {
    this.#maxListBytes = maxListBytes
  }

  /**
   * Decodes the block `bytes[start, end)`.
   *
   * @throws {ConnectionError} where it is none: what comes after it could not be read either
   */
  decode(bytes: Buffer, start: number, end: number): DecodedHeaders {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    const headers: Header[] = []
    let listBytes = 0
    let mayResize = true
    while (this.#at < end) {
      const first = bytes[this.#at]!
      if (first >= 0x20 && first < 0x40) {
        if (!mayResize) throw broken('the size of the table changes within a header block')
        this.#resize(this.#integer(5))
        continue
      }
      mayResize = false
      const header = first >= 0x80 ? this.#entry(this.#integer(7)) : this.#literal(first)
      listBytes += sizeOf(header)
      if (listBytes <= this.#maxListBytes) headers.push(header)
    }
    this.#bytes = NO_BYTES
    return { headers, bytes: listBytes, isTooLarge: listBytes > this.#maxListBytes }
  }

  #literal(first: number): Header {
    const isKept = first >= 0x40
    const index = this.#integer(isKept ? 6 : 4)
    const name = index === 0 ? this.#string() : this.#entry(index)[0]
    const header: Header = [name, this.#string()]
    if (isKept) this.#keep(header)
    return header
  }

  #entry(index: number): Header {
    if (index > STATIC_TABLE.length) {
      const header = this.#table[this.#table.length - (index - STATIC_TABLE.length)]
      if (header !== undefined) return header
    } else if (index > 0) return STATIC_TABLE[index - 1]!
    throw broken(`no header has the index ${index}`)
  }

  #keep(header: Header): void {
    const bytes = sizeOf(header)
    this.#evict(this.#maxTableBytes - bytes)
    if (bytes > this.#maxTableBytes) return
    this.#table.push(header)
    this.#tableBytes += bytes
  }

  #resize(maxBytes: number): void {
    if (maxBytes > DEFAULT_TABLE_BYTES) throw broken(`a table of ${maxBytes} bytes was not offered`)
    this.#maxTableBytes = maxBytes
    this.#evict(maxBytes)
  }

  /** Drops the oldest until those that are left take no more than `maxBytes`. */
  #evict(maxBytes: number): void {
    while (this.#tableBytes > maxBytes && this.#table.length > 0) {
      this.#tableBytes -= sizeOf(this.#table.shift()!)
    }
  }

  /** An integer that begins in the low `prefixBits` of the next byte. */
  #integer(prefixBits: number): number {
    const most = (1 << prefixBits) - 1
    let value = this.#byte() & most
    if (value < most) return value
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte()
      value += (byte & 127) * scale
      if (value > MAX_INTEGER || scale > MAX_INTEGER) throw broken('a number is too large')
      if (byte < 128) return value
    }
  }

  #byte(): number {
    if (this.#at >= this.#end) throw broken('a header block ends within a header')
    return this.#bytes[this.#at++]!
  }

  #string(): string {
    const isHuffman = this.#at < this.#end && this.#bytes[this.#at]! >= 128
    const length = this.#integer(7)
    const start = this.#at
    const end = start + length
    if (end > this.#end) throw broken('a header block ends within a header')
    this.#at = end
    if (!isHuffman) return this.#bytes.toString('latin1', start, end)
    const decoded = Buffer.allocUnsafe(Math.ceil((length * 8) / 5))
    const decodedBytes = decodeHuffman(this.#bytes, start, end, decoded)
    if (decodedBytes === -1) throw broken('a string is no Huffman code')
    return decoded.toString('latin1', 0, decodedBytes)
  }
}

function sizeOf([name, value]: Header): number {
  return name.length + value.length + ENTRY_BYTES
}

function broken(what: string): ConnectionError {
  return new ConnectionError(ERROR.compression, what)
}
