import { constants } from 'node:http2'
import type { Dispatcher } from 'undici'
import { Cancellation } from '../framework/cancellation.ts'
import { SchedulerError } from '../framework/errors.ts'
import { errorAnswer } from '../framework/routing/error-answer.ts'
import { HeldBody } from '../framework/routing/held-body.ts'
import type { Routed } from '../framework/services.ts'
import {
  breakResponse,
  type ClientRequest,
  type ClientResponse,
  linger,
  writeAnswer,
} from './answer.ts'
import { ClientAnswer } from './client-answer.ts'
import { type EngineFault, engineFault } from './engine-pools.ts'
import { engineRequest, unanswered, unreadable } from './engine-request.ts'
import type { Exchanges } from './exchanges.ts'
import { type GivenHeaders, hasBody, type RequestHeaders } from './headers.ts'
import type { BreakReason, ProxyOutcome } from './proxy-metrics.ts'

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
  slot = -1
  readonly #shared: Exchanges
  readonly #request: ClientRequest
  readonly #response: ClientResponse
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
  /** Undefined while no engine has the request. */
  #controller: Dispatcher.DispatchController | undefined
  /** Undefined until an engine's answer has begun. */
  #answer: ClientAnswer | undefined
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
    writeAnswer(this.#response, status, headers, this.#id, body, closes)
    if (isSending) {
      this.#request.removeListener('data', this.#received)
      linger(this.#request, this.#response)
    } else this.#response.end()
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
      this.#body.add(piece, true)
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
    const avoid = ejections.avoidAnd(this.#tried)
    const request = { headers: this.#headers.all, body: this.#body.pieces, subset: undefined }
    router
      .route(avoid === undefined ? request : { ...request, avoid }, this.#cancellation)
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
    this.#endpoint = routed.destination.split(',', 1)[0]!
    this.#routed = routed
    this.#phase = 'asking'
    try {
      const request = engineRequest(this.#request, this.#headers, routed, this.#id)
      this.#shared.pools.get(this.#endpoint).dispatch(request, this)
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
    given: GivenHeaders,
  ): void {
    if (status < 200 || this.#phase !== 'asking') return
    const routed = this.#routed!
    this.#phase = 'answering'
    this.#status = status
    this.#shared.ejections.answered(this.#endpoint)
    this.#body.drop()
    this.#body.release()
    try {
      this.#answer = new ClientAnswer(this.#response, routed, this.#waitForReader)
      this.#answer.begin(status, given, this.#endpoint, this.#shared.draining)
    } catch (error) {
      routed.end('aborted')
      this.refuse(unreadable(this.#endpoint, error as Error))
      // Tells of its error at once, which would break the answer.
      controller.abort(error as Error)
    }
  }

  onResponseData(_controller: Dispatcher.DispatchController, piece: Buffer): void {
    if (this.#phase !== 'answering') return
    this.#answer!.add(piece)
  }

  readonly #waitForReader = (): void => {
    if (this.#waitsForClient) return
    this.#controller?.pause()
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
    this.#controller = undefined
    this.#outcome = 'completed'
    this.#answer!.end()
    this.#routed!.end('completed')
    // What is written may wait for the client still.
    this.#waitsForClient = true
    this.#silentSinceMs = undefined
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
    this.#routed!.end('aborted')
    this.#routed = undefined
    this.#controller = undefined
    if (fault !== 'invalid' && fault !== 'timeout') {
      ejections.eject(this.#endpoint, fault, detail)
      this.#tried ??= new Set()
      this.#tried.add(this.#endpoint)
      if (this.#tried.size <= retries) {
        metrics.retries.inc()
        return this.#route()
      }
    }
    this.refuse(unanswered(this.#endpoint, fault, detail))
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
    if (this.#phase === 'routing') this.#cancellation.cancel()
    this.#phase = next
    this.#waitsForClient = false
    this.#answer?.drop()
    this.#controller?.abort(new Error('the client went away'))
    this.#routed?.end(sawResponse ? 'aborted' : 'client-gone')
  }

  readonly #closed = (): void => {
    if (this.#phase !== 'ended') this.#letGo('ended')
    this.#body.drop()
    this.#body.release()
    this.#shared.metrics.ended(this.#outcome, this.#status)
    this.#shared.remove(this)
  }
}

function ignore(): void {}
