import type { ServerHttp2Stream } from 'node:http2'
import type { Server as NetServer } from 'node:net'
import type { Server, ServerInterceptingCallInterface } from '@grpc/grpc-js'
import type { Metrics } from '../framework/services.ts'

const RECEIVE_WINDOW_BYTES = 16 * 1024 * 1024
const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024
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
const allowances = new WeakMap<object, Allowance>()

/**
 * Lets connections of the server see as many resets as Envoy makes: by default Envoy resets every ext_proc stream when it
 * is done with it, and nghttp2, inside Node, takes that for an attack. To be called before the server binds.
 *
 * @returns false where this Node has no setting for it (before 22.10), or grpc-js hands none on: `tendConnection` then has
 *   to renew connections
 */
export function liftResetLimit(server: Server): boolean {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
  const { commonServerOptions: options } = server as unknown as { commonServerOptions?: object }
  if (options === undefined || major < 22 || (major === 22 && minor < 10)) return false
  Object.assign(options, { streamResetBurst: LIFTED_RESETS, streamResetRate: LIFTED_RESETS })
  return true
}

/**
 * Closes connections that come beyond so many, and counts them; to be called once the server is bound. grpc-js has no
 * option for it, hence the look at the sockets that listen.
 *
 * @throws {Error} where this release of grpc-js keeps them elsewhere
 */
export function capConnections(
  server: Server,
  maxConnections: number,
  port: 'ext_proc' | 'health',
  metrics: Metrics,
): void {
  const refused = metrics.counter(
    'epp_connections_refused_total',
    'Connections closed at once, since a port had as many as are allowed.',
    { port },
  )
  const { http2Servers } = server as unknown as { http2Servers: ReadonlyMap<NetServer, unknown> }
  for (const listening of http2Servers.keys()) {
    listening.maxConnections = maxConnections
    listening.on('drop', () => refused.inc())
  }
}

/**
 * Looks after the connection on which a call has come; to be called for each call once. grpc-js has options for none of
 * this on the server, hence the look at the stream behind the call; where there is none the connection stays as it is.
 *
 * The first call raises the receive windows: with the protocol's 64 KiB a long prompt waits for a round trip each 64 KiB.
 *
 * Where the limit could not be lifted, the gateway is asked for another connection before this one has seen too many
 * resets; past that nghttp2 closes it and every request on it fails. Requests on their way at that moment are refused:
 * they may be tried again, but Envoy does not do so by itself.
 */
export function tendConnection(call: ServerInterceptingCallInterface, isLimitLifted: boolean) {
  const { stream } = call as { readonly stream?: ServerHttp2Stream }
  const session = stream?.session
  if (!session) return
  let allowance = allowances.get(session)
  if (allowance === undefined) {
    allowance = { resets: RESETS_AT_ONCE, atMs: performance.now() }
    allowances.set(session, allowance)
    session.settings({ initialWindowSize: RECEIVE_WINDOW_BYTES })
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
  }
  if (isLimitLifted) return
  const seen = allowance
  stream.once('close', () => {
    if (stream.rstCode === 0) return
    const nowMs = performance.now()
    const gained = ((nowMs - seen.atMs) / 1000) * RESETS_PER_SECOND
    seen.resets = Math.min(RESETS_AT_ONCE, seen.resets + gained) - 1
    seen.atMs = nowMs
    // The streams that are open end where they are.
    if (seen.resets < RESETS_KEPT && !session.closed) session.close()
  })
}
