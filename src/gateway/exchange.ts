import { constants } from 'node:http2'
import type { Writable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { Cancellation } from '../framework/cancellation.ts'
import { SchedulerError } from '../framework/errors.ts'
import { errorAnswer } from '../framework/routing/error-answer.ts'
import { bodyTooLarge, HeldBody } from '../framework/routing/held-body.ts'
import type { Routed } from '../framework/services.ts'
import {
  breakResponse,
  type ClientRequest,
  type ClientResponse,
  isHttp2,
  LINGER_MS,
  writeAnswer,
} from './answer.ts'
import { type EngineFault, engineFault } from './engine-pools.ts'
import type { Exchanges } from './exchanges.ts'
import { headerMap, type RequestHeaders, responseHeaders, without } from './headers.ts'
import type { BreakReason, ProxyOutcome } from './proxy-metrics.ts'

/** Bodies in pieces are joined up to this size: one write is cheaper than several. */
const JOINED_BYTES = 64 * 1024

type Phase =
  /** The body is coming. */
  | 'body'
  /** The pick is being made. */
  | 'routing'
  /** The engine has the request. */
  | 'asking'
  /** The engine's response is being passed on. */
  | 'answering'
  /** The response is the proxy's own. */
  | 'answered'
  | 'ended'

/** One request from its headers to the end of its response. Its callbacks never throw. */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #shared: Exchanges
  readonly #request: ClientRequest
  readonly #response: ClientResponse
  /** The same, to write to. */
  readonly #sink: Writable
  readonly #id: string
  readonly #headers: RequestHeaders
  readonly #body: HeldBody
  readonly #cancellation = new Cancellation()
  #phase: Phase = 'body'
  #outcome: ProxyOutcome = 'client-gone'
  #status: number | undefined
  #routed: Routed | undefined
  #endpoint = ''
  /** Endpoints that failed this request. */
  #tried: Set<string> | undefined
  #controller: Dispatcher.DispatchController | undefined
  #engineEnded = false
  #wroteBody = false
  /** True while the client may send more of its body. */
  #isSending: boolean
  /** True while something is expected of the client: its body, or that it reads. */
  #waitsForClient = false
  /** Of the last sign of life while `#waitsForClient`; undefined until the next look at the time. */
  #silentSinceMs: number | undefined

  constructor(
    shared: Exchanges,
    request: ClientRequest,
    response: ClientResponse,
    id: string,
    headers: RequestHeaders,
  ) {
    this.#shared = shared
    this.#request = request
    this.#response = response
    this.#sink = response
    this.#id = id
    this.#headers = headers
    this.#body = new HeldBody(shared)
    this.#isSending = hasBody(request, headers.all) && !headers.all.has('expect')
    shared.add(this)
    response.on('close', this.#closed)
    // What breaks a connection is told by `close`.
    response.on('error', ignore)
    request.on('error', ignore)
  }

  /** Reads the body, has the request routed, passes the response on. */
  start() {
    if (!hasBody(this.#request, this.#headers.all)) return this.#complete()
    if (this.#headers.all.has('expect')) this.#response.writeContinue()
    this.#isSending = true
    this.#waitsForClient = true
    this.#request.on('data', this.#received)
    this.#request.on('end', this.#complete)
  }

  /** Answers instead of routing. */
  answer(status: number, headers: Iterable<readonly [string, string]>, body: string): void {
    if (this.#phase === 'ended' || this.#phase === 'answered') return
    this.#phase = 'answered'
    this.#outcome = 'answered'
    this.#status = status
    this.#waitsForClient = false
    this.#body.drop()
    this.#body.release()
    const isSending = this.#isSending
    const closes = isSending || this.#headers.all.has('expect') || this.#shared.draining
    writeAnswer(this.#response, status, withId(headers, this.#id), body, closes)
    if (isSending) this.#linger()
    else this.#response.end()
  }

  /** Answers with an error of ours. */
  refuse(error: unknown): void {
    if (this.#phase === 'ended' || this.#phase === 'answered') return
    const { code, status, headers, body } = errorAnswer(error)
    this.#shared.metrics.refused(code)
    this.answer(status, headers, body)
  }

  checkTime(nowMs: number): void {
    if (!this.#waitsForClient) return
    const { bodyTimeoutMs, readerTimeoutMs } = this.#shared.limits
    this.#silentSinceMs ??= nowMs
    const silentMs = nowMs - this.#silentSinceMs
    if (this.#phase === 'body') {
      if (silentMs < bodyTimeoutMs) return
      const text = `no byte of the request's body came in ${bodyTimeoutMs} ms; send it without a pause`
      this.refuse(new SchedulerError('REQUEST_TIMEOUT', text))
    } else if (silentMs >= readerTimeoutMs) this.#break('slow-reader')
  }

  shutDown(): void {
    if (this.#phase === 'answering') this.#break('shutting-down')
    else if (this.#phase === 'answered') this.#response.destroy()
    else {
      this.#letGo('routing')
      const text = 'the endpoint picker is shutting down; try again'
      this.refuse(new SchedulerError('SHUTTING_DOWN', text))
    }
  }

  readonly #received = (piece: Buffer): void => {
    this.#silentSinceMs = undefined
    if (this.#phase !== 'body') return
    try {
      this.#body.add(piece)
    } catch (error) {
      this.refuse(error)
    }
  }

  readonly #complete = (): void => {
    this.#isSending = false
    this.#waitsForClient = false
    if (this.#phase === 'body') this.#route()
  }

  #route(): void {
    const { router, ejections } = this.#shared
    this.#phase = 'routing'
    const out = ejections.avoid
    const tried = this.#tried
    const avoid =
      tried === undefined ? out : out === undefined ? tried : new Set([...out, ...tried])
    router
      .route(
        {
          headers: this.#headers.all,
          body: this.#body.pieces,
          subset: undefined,
          ...(avoid !== undefined && { avoid }),
        },
        this.#cancellation,
      )
      .then(this.#ask, this.#notRouted)
  }

  readonly #notRouted = (error: unknown): void => {
    // The next request may find an endpoint that is well again.
    if (error instanceof SchedulerError && error.code === 'POOL_EMPTY') {
      this.#shared.ejections.hurry()
    }
    this.refuse(error)
  }

  readonly #ask = (routed: Routed) => {
    if (this.#phase !== 'routing') return routed.end('client-gone')
    const { destination, removeHeaders, setHeaders, body } = routed
    const comma = destination.indexOf(',')
    this.#endpoint = comma < 0 ? destination : destination.slice(0, comma)
    this.#routed = routed
    this.#phase = 'asking'
    let { forwarded } = this.#headers
    if (removeHeaders.length > 0 || setHeaders.size > 0) {
      forwarded = without(forwarded, new Set([...removeHeaders, ...setHeaders.keys()]))
      for (const [name, value] of setHeaders) forwarded.push(name, value)
    } else forwarded = forwarded.slice()
    if (!setHeaders.has('x-request-id')) forwarded.push('x-request-id', this.#id)
    const joined = joinedBody(body)
    if (Array.isArray(joined)) {
      const bytes = joined.reduce((sum, { length }) => sum + length, 0)
      forwarded.push('content-length', String(bytes))
    }
    try {
      this.#shared.pools.get(this.#endpoint).dispatch(
        {
          path: originForm(this.#request.url!),
          method: this.#request.method as Dispatcher.HttpMethod,
          headers: forwarded,
          body: joined as Buffer,
        },
        this,
      )
    } catch (error) {
      this.onResponseError(undefined, error as Error)
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#phase !== 'asking') controller.abort(new Error('the client went away'))
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    given: Record<string, string | string[] | undefined>,
  ): void {
    if (status < 200 || this.#phase !== 'asking') return
    const routed = this.#routed!
    this.#phase = 'answering'
    this.#status = status
    this.#shared.ejections.answered(this.#endpoint)
    this.#body.drop()
    this.#body.release()
    const headers = responseHeaders(given)
    if (routed.watchResponse) {
      const wanted = routed.responseHeaders(status, headerMap(status, headers), this.#endpoint)
      for (const [name, value] of wanted ?? []) headers[name] = value
    }
    headers['x-request-id'] = routed.requestId
    const response = this.#response
    try {
      if (isHttp2(response)) response.writeHead(status, headers)
      else {
        if (this.#shared.draining) headers.connection = 'close'
        response.writeHead(status, headers)
      }
    } catch (error) {
      // Headers that no HTTP client could read.
      controller.abort(error as Error)
      routed.end('aborted')
      const text = `the model server ${this.#endpoint} answered with headers that cannot be passed on: ${(error as Error).message}`
      this.refuse(new SchedulerError('ENDPOINT_FAILED', text))
      return
    }
    // What has come with the headers goes with them; the first token may be long in coming.
    process.nextTick(this.#flushHead)
  }

  readonly #flushHead = (): void => {
    const response = this.#response
    // HTTP/2 has sent them already.
    if (!this.#wroteBody && !isHttp2(response) && this.#phase === 'answering') {
      response.flushHeaders()
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#phase !== 'answering') return
    const routed = this.#routed!
    this.#wroteBody = true
    if (routed.watchResponse) routed.responseBody(chunk)
    if (this.#sink.write(chunk)) return
    controller.pause()
    this.#waitsForClient = true
    this.#silentSinceMs = undefined
    this.#response.once('drain', this.#drained)
  }

  readonly #drained = (): void => {
    this.#waitsForClient = false
    this.#controller?.resume()
  }

  onResponseEnd(): void {
    if (this.#phase !== 'answering') return
    this.#engineEnded = true
    this.#outcome = 'completed'
    this.#routed!.end('completed')
    // What is written may wait for the client still.
    this.#waitsForClient = true
    this.#silentSinceMs = undefined
    this.#response.end()
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#phase !== 'asking' && this.#phase !== 'answering') return
    const { fault, detail } = engineFault(error)
    if (this.#phase === 'asking') this.#failed(fault, detail)
    else this.#break(fault === 'timeout' ? 'engine-idle' : 'engine-gone')
  }

  /** The engine has not begun to answer. */
  #failed(fault: EngineFault, detail: string) {
    const { ejections, metrics, retries } = this.#shared
    const endpoint = this.#endpoint
    this.#routed!.end('aborted')
    this.#routed = undefined
    this.#controller = undefined
    if (fault === 'invalid') return this.refuse(new SchedulerError('BAD_REQUEST', detail))
    if (fault === 'timeout') {
      const text = `the model server ${endpoint} did not begin to answer in time`
      return this.refuse(new SchedulerError('ENDPOINT_TIMEOUT', text))
    }
    ejections.eject(endpoint, fault, detail)
    this.#tried ??= new Set()
    this.#tried.add(endpoint)
    if (this.#tried.size <= retries && this.#phase === 'asking') {
      metrics.retries.inc()
      return this.#route()
    }
    const text = `the model server ${endpoint} ${fault === 'refused' ? 'refused the connection' : 'broke the connection before it answered'}; try again`
    this.refuse(new SchedulerError('ENDPOINT_FAILED', text))
  }

  /** The response has begun, and cannot be finished: the client must not take it for whole. */
  #break(reason: BreakReason): void {
    this.#outcome = 'broken'
    this.#shared.metrics.broken(reason)
    this.#letGo('ended')
    breakResponse(this.#response, constants.NGHTTP2_INTERNAL_ERROR)
  }

  /** Lets go of the engine; what it says of that finds the exchange in `next`. */
  #letGo(next: Phase): void {
    const sawResponse = this.#phase === 'answering'
    // Aborting costs as much as a pick, and there is nobody to tell where nothing is being picked.
    const isRouting = this.#phase === 'routing'
    this.#phase = next
    this.#waitsForClient = false
    if (isRouting) this.#cancellation.cancel()
    if (!this.#engineEnded) this.#controller?.abort(new Error('the client went away'))
    this.#routed?.end(sawResponse ? 'aborted' : 'client-gone')
  }

  #linger(): void {
    const end = () => {
      clearTimeout(timer)
      this.#response.end()
      if (isHttp2(this.#response)) this.#response.stream.close(constants.NGHTTP2_NO_ERROR)
    }
    const timer = setTimeout(end, LINGER_MS)
    this.#request.removeListener('data', this.#received)
    this.#request.once('end', end)
    this.#response.once('close', () => clearTimeout(timer))
    this.#request.resume()
  }

  readonly #closed = (): void => {
    if (this.#phase !== 'ended') this.#letGo('ended')
    this.#body.drop()
    this.#body.release()
    this.#shared.metrics.ended(this.#outcome, this.#status)
    this.#shared.remove(this)
  }
}

/** @throws {SchedulerError} BODY_TOO_LARGE for a length that is told and too large */
export function checkBodyLength(headers: ReadonlyMap<string, string>, maxBodyBytes: number): void {
  if (Number(headers.get('content-length')) > maxBodyBytes) throw bodyTooLarge(maxBodyBytes)
}

function hasBody(request: ClientRequest, headers: ReadonlyMap<string, string>): boolean {
  if ('stream' in request) return !request.stream.endAfterHeaders
  return headers.has('transfer-encoding') || Number(headers.get('content-length')) > 0
}

/** Undefined for no body; pieces where joining them would copy much. */
function joinedBody(pieces: readonly Uint8Array[]): Uint8Array | readonly Uint8Array[] | undefined {
  if (pieces.length <= 1) return pieces[0]
  const bytes = pieces.reduce((sum, { length }) => sum + length, 0)
  return bytes <= JOINED_BYTES ? Buffer.concat(pieces, bytes) : pieces
}

/** Clients of a proxy may send the whole URL (RFC 9112, 3.2.2). */
function originForm(url: string): string {
  return url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?#]*/i, '') || '/'
}

function withId(
  headers: Iterable<readonly [string, string]>,
  id: string,
): Iterable<readonly [string, string]> {
  return [...headers, ['x-request-id', id]]
}

function ignore(): void {}
