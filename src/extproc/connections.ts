import { constants, type ServerHttp2Stream } from 'node:http2'
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js'

const RECEIVE_WINDOW_BYTES = 16 * 1024 * 1024
const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024
/** Well below the 1,000 resets that nghttp2 allows a connection at once. */
const STREAMS_PER_CONNECTION = 800
const LAST_STREAM_ID = 2 ** 31 - 1

/** Streams opened on each connection. */
const streams = new WeakMap<object, number>()

/**
 * Looks after the connection on which a call has come; to be called for each call once. grpc-js has options for none of
 * this on the server, hence the look at the stream behind the call; where there is none the connection stays as it is.
 *
 * The first call raises the receive windows: with the protocol's 64 KiB a long prompt waits for a round trip each 64 KiB.
 *
 * The 800th asks the gateway for another connection, without harm to the streams of this one. Envoy resets every ext_proc
 * stream when it is done with it, and nghttp2 takes more than 1,000 resets and 33 a second for an attack: it then closes
 * the connection and every request on it fails. It no longer counts once the connection has been told to go.
 * Source: https://nghttp2.org/documentation/nghttp2_option_set_stream_reset_rate_limit.html
 */
export function tendConnection(call: ServerInterceptingCallInterface): void {
  const session = (call as { readonly stream?: ServerHttp2Stream }).stream?.session
  if (!session) return
  const count = (streams.get(session) ?? 0) + 1
  streams.set(session, count)
  if (count === 1) {
    session.settings({ initialWindowSize: RECEIVE_WINDOW_BYTES })
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
  } else if (count === STREAMS_PER_CONNECTION) {
    session.goaway(constants.NGHTTP2_NO_ERROR, LAST_STREAM_ID)
  }
}
