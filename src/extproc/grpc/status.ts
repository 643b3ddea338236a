import type { Header } from '../http2/static-table.ts'

/** The codes with which calls end here. Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
export const STATUS = {
  ok: 0,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
} as const

export type Status = (typeof STATUS)[keyof typeof STATUS]

/** Characters of what a call ends with, encoded; more would not fit in a frame beside other headers. */
const MAX_MESSAGE_CHARS = 4096

/** What a call ends with, as HTTP/2 trailers. */
export function statusTrailers(code: Status, details: string): Header[] {
  const status: Header = ['grpc-status', String(code)]
  if (details === '') return [status]
  const message = percentEncoded(details).slice(0, MAX_MESSAGE_CHARS)
  return [status, ['grpc-message', message.replace(/%.?$/, '')]]
}

/**
 * `text` as a header may carry it: UTF-8, each byte but the printable ones of ASCII, and `%`, as `%XX`.
 * Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Status-Message"
 */
export function percentEncoded(text: string): string {
  let encoded = ''
  for (const byte of Buffer.from(text)) {
    encoded +=
      byte < 0x20 || byte > 0x7e || byte === 0x25
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte)
  }
  return encoded
}

const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
}

/** Milliseconds that a `grpc-timeout` header allows; undefined where it says none. Source: as of `percentEncoded`. */
export function timeoutMs(header: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(header)
  return match === null ? undefined : Number(match[1]) * UNIT_MS[match[2]!]!
}
