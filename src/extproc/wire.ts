/**
 * The protobuf wire format, as far as ext_proc and gRPC health need it: varints, fixed words and length-delimited fields.
 * Source: https://protobuf.dev/programming-guides/encoding/
 */

import { FRAME_HEAD_BYTES, putFrameHead } from './grpc/frames.ts'

const VARINT = 0
const FIXED64 = 1
export const LENGTH_DELIMITED = 2
const FIXED32 = 5

/**
 * Walks the fields of one message inside a buffer, without copying.
 *
 * `next()` moves to the next field and is false at the end, or where the bytes are not a message: then `malformed` is
 * true. Never throws and never reads past the range it was given.
 */
export class FieldReader {
  #bytes: Uint8Array = EMPTY
  #at = 0
  #stop = 0
  /** Number of the current field. */
  field = 0
  /** `VARINT`, `LENGTH_DELIMITED`, or a fixed word, which is skipped. */
  wireType = 0
  /** Value of a varint, exact up to 2^53. */
  value = 0
  /** First byte of a length-delimited field. */
  start = 0
  /** Byte after the last one of a length-delimited field. */
  end = 0
  malformed = false

  /** Starts over on `bytes[start, end)`. */
  reset(bytes: Uint8Array, start: number, end: number): this {
    this.#bytes = bytes
    this.#at = start
    this.#stop = end
    this.malformed = false
    return this
  }

  next(): boolean {
    if (this.#at >= this.#stop) return false
    const tag = this.#varint()
    if (tag < 8) return this.#fail()
    // Divided, not shifted: a field number has up to 29 bits.
    this.field = Math.floor(tag / 8)
    this.wireType = tag % 8
    switch (this.wireType) {
      case VARINT:
        this.value = this.#varint()
        return this.value >= 0 || this.#fail()
      case LENGTH_DELIMITED: {
        const length = this.#varint()
        if (length < 0 || length > this.#stop - this.#at) return this.#fail()
        this.start = this.#at
        this.end = this.#at += length
        return true
      }
      case FIXED64:
        return this.#skip(8)
      case FIXED32:
        return this.#skip(4)
      default:
        return this.#fail()
    }
  }

  /** -1 where the bytes end too soon or the varint is longer than ten bytes. */
  #varint(): number {
    const bytes = this.#bytes
    let value = 0
    let factor = 1
    for (let i = 0; i < 10 && this.#at < this.#stop; i++) {
      const byte = bytes[this.#at++]!
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
      factor *= 128
    }
    return -1
  }

  #skip(count: number): boolean {
    if (count > this.#stop - this.#at) return this.#fail()
    this.#at += count
    return true
  }

  #fail(): false {
    this.malformed = true
    this.#at = this.#stop
    return false
  }
}

const EMPTY = new Uint8Array(0)

/** Bytes that a varint of `value` takes. */
export function varintBytes(value: number): number {
  let count = 1
  while (value >= 0x80) {
    value = Math.floor(value / 128)
    count++
  }
  return count
}

/** Writes a varint at `at` and returns the position after it. */
export function putVarint(bytes: Uint8Array, at: number, value: number): number {
  while (value >= 0x80) {
    bytes[at++] = (value % 128) | 0x80
    value = Math.floor(value / 128)
  }
  bytes[at++] = value
  return at
}

const SHORT_CHARACTERS = 64

/**
 * Builds a message from its last byte to its first, so that the length of everything nested is known when it is written.
 *
 * Fields therefore come out in the reverse of the order of the calls. One writer serves one message at a time: `begin()`
 * drops what a failed one has left, `take()` returns the message as a buffer of its own.
 */
export class BackwardWriter {
  #buffer: Buffer
  #at: number

  constructor(capacityBytes: number) {
    this.#buffer = Buffer.allocUnsafe(capacityBytes)
    this.#at = capacityBytes
  }

  /** Starts a message; the answer is its mark. */
  begin(): number {
    this.#at = this.#buffer.length
    return 0
  }

  /** What `nest` needs to know later: where the message that is about to be written ends. */
  mark(): number {
    return this.#buffer.length - this.#at
  }

  /** Makes a length-delimited field of everything written since `mark`. */
  nest(field: number, mark: number): void {
    this.#varint(this.#buffer.length - this.#at - mark)
    this.#varint(field * 8 + LENGTH_DELIMITED)
  }

  varint(field: number, value: number): void {
    this.#varint(value)
    this.#varint(field * 8)
  }

  bytes(field: number, value: Uint8Array): void {
    this.#reserve(value.length)
    this.#at -= value.length
    this.#buffer.set(value, this.#at)
    this.#varint(value.length)
    this.#varint(field * 8 + LENGTH_DELIMITED)
  }

  /** Fields that are encoded already. */
  raw(fields: Uint8Array): void {
    this.#reserve(fields.length)
    this.#at -= fields.length
    this.#buffer.set(fields, this.#at)
  }

  /** A string, or a bytes field holding UTF-8. */
  text(field: number, value: string): void {
    const length = this.#shortAscii(value) ? value.length : this.#utf8(value)
    this.#varint(length)
    this.#varint(field * 8 + LENGTH_DELIMITED)
  }

  take(): Buffer {
    const message = Buffer.allocUnsafe(this.#buffer.length - this.#at)
    this.#buffer.copy(message, 0, this.#at)
    return message
  }

  /** The message with the head that gRPC puts before it. */
  takeFrame(): Buffer {
    const length = this.#buffer.length - this.#at
    this.#reserve(FRAME_HEAD_BYTES)
    this.#at -= FRAME_HEAD_BYTES
    putFrameHead(this.#buffer, this.#at, length)
    return this.take()
  }

  #utf8(value: string): number {
    const length = Buffer.byteLength(value)
    this.#reserve(length)
    this.#at -= length
    this.#buffer.write(value, this.#at, length)
    return length
  }

  /** Writes a string that is short and of ASCII alone, for which a call out of JavaScript takes longer than a loop. */
  #shortAscii(value: string): boolean {
    const { length } = value
    if (length > SHORT_CHARACTERS) return false
    this.#reserve(length)
    const at = this.#at - length
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i)
      if (code > 0x7f) return false
      this.#buffer[at + i] = code
    }
    this.#at = at
    return true
  }

  #varint(value: number): void {
    const count = varintBytes(value)
    this.#reserve(count)
    this.#at -= count
    putVarint(this.#buffer, this.#at, value)
  }

  #reserve(count: number): void {
    if (count <= this.#at) return
    const written = this.#buffer.length - this.#at
    const grown = Buffer.allocUnsafe(2 * this.#buffer.length + count)
    this.#buffer.copy(grown, grown.length - written, this.#at)
    this.#at = grown.length - written
    this.#buffer = grown
  }
}
