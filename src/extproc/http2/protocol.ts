/** HTTP/2 in numbers. Source: RFC 9113, sections 4.1, 6 and 7. */

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  resetStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const

export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const

export const ERROR = {
  none: 0,
  protocol: 1,
  flowControl: 3,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  compression: 9,
  enhanceYourCalm: 11,
} as const

export type ErrorCode = (typeof ERROR)[keyof typeof ERROR]

export const SETTING = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const

/** What a client sends first. */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

/** Length of the payload (3 bytes), type (1), flags (1), stream (4). */
export const FRAME_HEAD_BYTES = 9
export const MAX_STREAM_ID = 2 ** 31 - 1
/** Of data that one side takes before it says that it takes more, where nothing else has been agreed on. */
export const DEFAULT_WINDOW_BYTES = 65_535
export const MAX_WINDOW_BYTES = 2 ** 31 - 1
/** Of one frame's payload, where nothing else has been agreed on. */
export const DEFAULT_FRAME_BYTES = 16_384
export const MAX_FRAME_BYTES = 2 ** 24 - 1
/** Of the headers that both sides remember, where nothing else has been agreed on. */
export const DEFAULT_TABLE_BYTES = 4096

/** A rule that the other side has broken, for which the connection ends. */
export class ConnectionError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** @throws {ConnectionError} unless `isSo` */
export function need(isSo: boolean, code: ErrorCode, otherwise: string): asserts isSo {
  if (!isSo) throw new ConnectionError(code, otherwise)
}

/** Writes the head of a frame at `at`, and returns the position after it. */
export function putFrameHead(
  target: Buffer,
  at: number,
  payloadBytes: number,
  type: number,
  flags: number,
  streamId: number,
): number {
  target[at] = payloadBytes >> 16
  target[at + 1] = payloadBytes >> 8
  target[at + 2] = payloadBytes
  target[at + 3] = type
  target[at + 4] = flags
  target[at + 5] = streamId >> 24
  target[at + 6] = streamId >> 16
  target[at + 7] = streamId >> 8
  target[at + 8] = streamId
  return at + FRAME_HEAD_BYTES
}

/** A whole frame. */
export function frame(type: number, flags: number, streamId: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEAD_BYTES + payload.length)
  putFrameHead(bytes, 0, payload.length, type, flags, streamId)
  bytes.set(payload, FRAME_HEAD_BYTES)
  return bytes
}

/** A whole frame whose payload is one number of four bytes, from 0 to 2^32 - 1. */
export function numberFrame(type: number, streamId: number, value: number): Buffer {
  const payload = Buffer.allocUnsafe(4)
  payload.writeUInt32BE(value)
  return frame(type, 0, streamId, payload)
}
