import type { Http2Session, ServerHttp2Stream } from 'node:http2'

/**
 * What nghttp2 allows one connection: so many resets at once, and so many more each second.
 * Source: https://nghttp2.org/documentation/nghttp2_option_set_stream_reset_rate_limit.html
 */
const RESETS_AT_ONCE = 1000
const RESETS_PER_SECOND = 33
/** A connection is renewed when so many resets are left. */
const RESETS_KEPT = 200
/** No gateway resets so many in a second; somebody who does is still stopped. */
const LIFTED_RESETS = 1_000_000

/** The resets that a connection may still see, and when that was. */
interface Allowance {
  resets: number
  atMs: number
}
const allowances = new WeakMap<Http2Session, Allowance>()

const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
/** Whether this Node has a setting for the limit. */
const mayLift = major > 22 || (major === 22 && minor >= 10)

/**
 * Options of a server that lets connections see as many resets as Envoy makes: by default Envoy resets every ext_proc
 * stream when it is done with it, and nghttp2, inside Node, takes that for an attack. Where Node has no setting for it
 * (before 22.10) `countReset` has to renew connections.
 */
export const RESET_LIMIT = mayLift
  ? { streamResetBurst: LIFTED_RESETS, streamResetRate: LIFTED_RESETS }
  : {}

/**
 * Counts the reset of a stream, where that is what it ended with; to be called with each new one.
 *
 * Where the limit could not be lifted, the gateway is asked for another connection before this one has seen too many
 * resets; past that nghttp2 closes it and every request on it fails. Requests on their way at that moment are refused:
 * they may be tried again, but Envoy does not do so by itself.
 */
export function countReset(stream: ServerHttp2Stream): void {
  const { session } = stream
  if (mayLift || session === undefined) return
  stream.once('close', () => {
    if (stream.rstCode === 0) return
    const nowMs = performance.now()
    let left = allowances.get(session)
    if (left === undefined) {
      left = { resets: RESETS_AT_ONCE, atMs: nowMs }
      allowances.set(session, left)
    }
    const gained = ((nowMs - left.atMs) / 1000) * RESETS_PER_SECOND
    left.resets = Math.min(RESETS_AT_ONCE, left.resets + gained) - 1
    left.atMs = nowMs
    // The streams that are open end where they are.
    if (left.resets < RESETS_KEPT && !session.closed) session.close()
  })
}
