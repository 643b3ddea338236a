import { Cancellation } from '../framework/cancellation.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { EndReason } from '../framework/plugin.ts'
import { answerCode } from '../framework/routing/error-answer.ts'
import { bodyTooLarge, HeldBody } from '../framework/routing/held-body.ts'
import type { GatewayCall, IncomingRequest, Routed } from '../framework/services.ts'
import { immediateErrorAnswer } from './answers.ts'
import { BodyPieces } from './body-pieces.ts'
import type { Exchanges } from './exchanges.ts'
import type { CallHandler } from './grpc/call.ts'
import { STATUS, type Status } from './grpc/status.ts'
import { BODY_MODE, MESSAGE, ProcessingRequest } from './processing-request.ts'
import {
  ANSWER,
  destinationAnswer,
  emptyAnswer,
  requestBodyAnswers,
  responseBodyAnswers,
  responseHeadersAnswer,
  skippingAnswer,
  trailersDestinationAnswer,
} from './processing-response.ts'

/** The gRPC stream of one exchange, as far as the exchange needs it. */
export interface Stream {
  /**
   * Sends frames, whole or in parts, together.
   *
   * @param written called when they have left the process's buffers; never if the stream breaks
   */
  send(frames: readonly Uint8Array[], written?: () => void): void
  /** Ends the stream, with OK unless a status is given; nothing happens where it has ended. */
  end(status?: Status, details?: string): void
}

/** Response chunks that come so soon after others wait until what has arrived is read, and are answered together. */
const TOGETHER_MS = 0.2

/** Where the request phase stands. */
type Phase =
  /** Nothing has come. */
  | 'start'
  /** Headers are here, the body is on its way. */
  | 'body'
  /** The router is at work. */
  | 'routing'
  /** The destination has been told; the response phase is open. */
  | 'routed'
  /** Over: nothing is sent any more, and nothing that comes matters. */
  | 'closed'

/** Read one at a time and synchronously, hence shared by all exchanges. */
const message = new ProcessingRequest()

const EMPTY_RESPONSE_HEADERS = emptyAnswer(ANSWER.responseHeaders)
const EMPTY_REQUEST_HEADERS = emptyAnswer(ANSWER.requestHeaders)
const EMPTY_REQUEST_BODY = emptyAnswer(ANSWER.requestBody)
const EMPTY_RESPONSE_BODY = emptyAnswer(ANSWER.responseBody)
const EMPTY_REQUEST_TRAILERS = emptyAnswer(ANSWER.requestTrailers)
const EMPTY_RESPONSE_TRAILERS = emptyAnswer(ANSWER.responseTrailers)

/**
 * One request and its response: the state machine behind one ext_proc stream.
 *
 * With a full duplex request body (also taken where Envoy names no mode) nothing is answered until the body is whole;
 * then come the headers answer, the body, and an answer to trailers. A buffered body is routed on as well, but Envoy
 * wants its headers answered first, so the destination stands in the answer to the body; of one that is buffered in part
 * the rest goes by unseen. A streamed body, or none, is never seen before the headers must be answered: such a request is
 * routed on its headers alone.
 */
export class Exchange implements CallHandler {
  slot = -1
  readonly #stream: Stream
  readonly #shared: Exchanges
  #cancellation: Cancellation | undefined
  #call: GatewayCall | undefined
  #phase: Phase = 'start'
  #requestMode: number = BODY_MODE.fullDuplexStreamed
  #responseMode: number = BODY_MODE.fullDuplexStreamed
  #headers: ReadonlyMap<string, string> = new Map()
  readonly #body: HeldBody
  #subset: readonly string[] | undefined
  #requestEndedInHeaders = false
  /** True when a body message has come, however many. */
  #sawBody = false
  #requestEnded = false
  #sawTrailers = false
  /** True when the body goes on after the part that has come. */
  #isCut = false
  /** Streamed body messages that came before the headers could be answered. */
  #owedBodyAnswers = 0
  #routed: Routed | undefined
  /** False once the request has been ended for want of anybody who watches its response. */
  #watched = true
  #sawResponse = false
  /** Response bytes that wait for the next flush. */
  readonly #responsePieces = new BodyPieces()
  /** The answer to the response's headers, until the next flush. */
  #responseHeadersAnswer: Buffer | undefined
  #responseEnded = false
  #flushPlanned = false
  /** When response messages came last. */
  #respondedMs = 0

  constructor(stream: Stream, shared: Exchanges) {
    this.#stream = stream
    this.#shared = shared
    this.#body = new HeldBody(shared)
    shared.add(this)
  }

  /** How the gateway addressed us; said before the first message. */
  called(call: GatewayCall): void {
    this.#call = call
  }

  message(bytes: Buffer, start: number, end: number, mayKeep: boolean): void {
    if (this.#phase === 'closed') return
    try {
      if (!message.read(bytes, start, end))
        this.#malformed('the message is not a ProcessingRequest')
      else this.#handle(bytes, mayKeep)
    } catch (error) {
      this.#fault(error)
    }
  }

  /** A chunk that comes alone is answered at once: to wait for others would cost it a turn of the event loop. */
  pause(): void {
    if (!this.#hasResponse) return
    const nowMs = performance.now()
    const isAlone = nowMs - this.#respondedMs > TOGETHER_MS
    this.#respondedMs = nowMs
    if (isAlone || this.#responseEnded) {
      this.flush()
    } else if (!this.#flushPlanned) {
      this.#flushPlanned = true
      this.#shared.flushSoon(this)
    }
  }

  /** The gateway has sent its last message: normal after the last answer, for Envoy 1.37 and later at once. */
  halfClosed(): void {
    this.flush()
    this.#gone()
    this.#stream.end()
  }

  closed(): void {
    this.flush()
    this.#gone()
    this.#body.release()
  }

  /** Ends the exchange because this process is about to end. */
  shutDown(): void {
    if (this.#phase === 'closed') return
    if (this.#routed === undefined) {
      this.#refuse(
        new SchedulerError('SHUTTING_DOWN', 'the endpoint picker is shutting down; try again'),
      )
      return
    }
    this.flush()
    this.#gone()
    this.#stream.end()
  }

  /** Sends what the response phase has ready. */
  flush(): void {
    this.#flushPlanned = false
    if (this.#phase === 'closed' || !this.#hasResponse) return
    try {
      const ended = this.#responseEnded
      const answers = this.#bodyAnswers(ended)
      if (this.#responseHeadersAnswer !== undefined) answers.unshift(this.#responseHeadersAnswer)
      this.#responseHeadersAnswer = undefined
      this.#stream.send(answers)
      if (ended) this.#completed()
    } catch (error) {
      this.#fault(error)
    }
  }

  /** Whether the response phase has anything to send. */
  get #hasResponse(): boolean {
    return (
      this.#responsePieces.bytes > 0 ||
      this.#responseHeadersAnswer !== undefined ||
      this.#responseEnded
    )
  }

  /** The response's body as far as it is here, and shown to whoever watches it. */
  #bodyAnswers(ends: boolean): Buffer[] {
    const routed = this.#watched ? this.#routed : undefined
    return responseBodyAnswers(
      this.#responsePieces,
      ends,
      routed && ((bytes) => routed.responseBody(bytes)),
    )
  }

  #handle(bytes: Buffer, mayKeep: boolean) {
    if (message.observing) {
      this.#shared.observed.inc()
      this.#shared.logger.warnOnce(
        'extproc-observability-mode',
        'the gateway asks in observability mode, in which no answer is taken: nothing is routed; set observability_mode to false',
      )
      this.#close()
      return
    }
    if (message.hasModes) {
      this.#requestMode = message.requestBodyMode
      this.#responseMode = message.responseBodyMode
    }
    if (!this.#routed && !this.#readSubset()) {
      this.#malformed('the metadata of the message does not decode')
      return
    }
    switch (message.kind) {
      case MESSAGE.requestHeaders:
        return this.#requestHeaders()
      case MESSAGE.requestBody:
        return this.#requestBody(bytes, mayKeep)
      case MESSAGE.requestTrailers:
        return this.#requestTrailers()
      case MESSAGE.responseHeaders:
        return this.#responseHeaders()
      case MESSAGE.responseBody:
        return this.#responseBody(bytes, mayKeep)
      case MESSAGE.responseTrailers:
        return this.#responseTrailers()
    }
  }

  /** False when the metadata does not decode. The first hint that names somebody counts. */
  #readSubset(): boolean {
    if (this.#subset !== undefined && this.#subset.length > 0) return true
    const subset = message.subset()
    if (subset === null) return false
    if (subset !== undefined) this.#subset = subset
    return true
  }

  #requestHeaders() {
    if (this.#phase !== 'start') return this.#malformed('request_headers came twice')
    if (this.#shared.draining) {
      const text = 'the endpoint picker is shutting down; try again'
      return this.#refuse(new SchedulerError('SHUTTING_DOWN', text))
    }
    const { maxHeaderBytes, maxBodyBytes, maxRequests } = this.#shared.limits
    if (this.#shared.active > maxRequests) {
      const text = `${maxRequests} requests are in progress, as many as --max-requests allows; try again`
      return this.#refuse(new SchedulerError('REQUESTS_FULL', text))
    }
    if (message.headerBytes() > maxHeaderBytes) {
      const text = `the request's headers take ${message.headerBytes()} bytes, more than ${maxHeaderBytes} (--max-header-kib); send fewer or shorter ones`
      return this.#refuse(new SchedulerError('BAD_REQUEST', text))
    }
    const headers = message.headers()
    if (headers === undefined) return this.#malformed('the headers of the message do not decode')
    this.#headers = headers
    this.#phase = 'body'
    if (message.endOfStream) {
      this.#requestEnded = this.#requestEndedInHeaders = true
      return this.#route()
    }
    const bodyBytes = Number(headers.get('content-length') ?? 0)
    if (bodyBytes > maxBodyBytes) return this.#refuse(bodyTooLarge(maxBodyBytes))
    this.#body.expect(bodyBytes)
    if (isFullDuplex(this.#requestMode)) return
    if (this.#isBuffered) {
      const mayWatch = this.#shared.router.mayWatchResponse(this.#call)
      this.#stream.send([
        mayWatch || isFullDuplex(this.#responseMode)
          ? EMPTY_REQUEST_HEADERS
          : skippingAnswer(this.#requestMode),
      ])
      return
    }
    this.#route()
  }

  #requestBody(bytes: Buffer, mayKeep: boolean) {
    if (this.#phase === 'start') return this.#malformed('request_body came before request_headers')
    // Envoy 1.35 and later may send a second end of stream after a large body (envoy#46237).
    if (this.#requestEnded) return
    this.#sawBody = true
    this.#requestEnded = message.endOfStream
    if (!isFullDuplex(this.#requestMode) && !this.#isBuffered) {
      if (this.#phase === 'routing') this.#owedBodyAnswers++
      else this.#stream.send([EMPTY_REQUEST_BODY])
      return this.#endIfUnwatched()
    }
    if (this.#phase !== 'body') return
    if (message.bodyEnd > message.bodyStart) {
      try {
        this.#body.add(message.body(), mayKeep && !isSmallPart(bytes, message))
      } catch (error) {
        return this.#refuse(error)
      }
    }
    this.#isCut = this.#requestMode === BODY_MODE.bufferedPartial && !message.endOfStream
    if (message.endOfStream || this.#isBuffered) this.#route()
  }

  #requestTrailers() {
    if (this.#phase === 'start') {
      return this.#malformed('request_trailers came before request_headers')
    }
    if (this.#requestEnded) return
    this.#requestEnded = true
    this.#sawTrailers = true
    if (this.#phase === 'body') return this.#route()
    if (this.#phase === 'routed') {
      this.#stream.send([EMPTY_REQUEST_TRAILERS])
      this.#endIfUnwatched()
    }
  }

  #route() {
    this.#phase = 'routing'
    this.#shared.routeSoon(this)
  }

  /** Has the request routed, unless it has ended while it waited for that. */
  route(): void {
    if (this.#phase !== 'routing') return
    this.#cancellation = new Cancellation()
    const bodySeen = this.#bodySeen()
    if (bodySeen !== undefined) this.#shared.unseenBody(bodySeen, this.#requestMode)
    const request: IncomingRequest = {
      headers: this.#headers,
      body: this.#body.pieces,
      subset: this.#subset,
      ...(this.#call && { call: this.#call }),
      ...(bodySeen !== undefined && { bodySeen }),
    }
    this.#shared.router.route(request, this.#cancellation).then(
      (routed) => this.#answer(routed),
      (error: unknown) => {
        if (this.#phase === 'routing') this.#refuse(error)
      },
    )
  }

  /** What of the body has come; undefined for all of it. */
  #bodySeen(): IncomingRequest['bodySeen'] {
    if (this.#requestEndedInHeaders || isFullDuplex(this.#requestMode)) return undefined
    if (!this.#isBuffered) return 'none'
    return this.#isCut ? 'part' : undefined
  }

  #answer(routed: Routed) {
    if (this.#phase !== 'routing') {
      routed.end(this.#sawResponse ? 'aborted' : 'client-gone')
      return
    }
    let answers: Uint8Array[]
    try {
      answers = this.#requestAnswers(routed)
    } catch (error) {
      routed.end('aborted')
      this.#refuse(error)
      return
    }
    this.#routed = routed
    this.#phase = 'routed'
    this.#shared.routed.inc()
    this.#body.drop()
    this.#stream.send(answers, () => this.#body.release())
    this.#endIfUnwatched()
  }

  /** What the request phase is answered with, in Envoy's order: headers, body, trailers; at least one. */
  #requestAnswers(routed: Routed): Uint8Array[] {
    if (this.#isBuffered && !this.#requestEndedInHeaders) return this.#bufferedAnswers(routed)
    const maySkip = !isFullDuplex(this.#requestMode) && !isFullDuplex(this.#responseMode)
    const skips = maySkip && !routed.watchResponse
    const answers: Uint8Array[] = [
      destinationAnswer(ANSWER.requestHeaders, routed, {
        ...(skips && { skipResponse: { requestBodyMode: this.#requestMode } }),
      }),
    ]
    if (isFullDuplex(this.#requestMode) && !this.#requestEndedInHeaders) {
      const ends = !this.#sawTrailers
      answers.push(...requestBodyAnswers(routed.takeBody(), ends))
    }
    for (let owed = this.#owedBodyAnswers; owed > 0; owed--) answers.push(EMPTY_REQUEST_BODY)
    if (this.#sawTrailers) answers.push(EMPTY_REQUEST_TRAILERS)
    return answers
  }

  /** A buffered request's headers are answered already: the destination goes with the body, else with the trailers. */
  #bufferedAnswers(routed: Routed): Uint8Array[] {
    if (!this.#sawBody) return [trailersDestinationAnswer(routed.destination)]
    const body = routed.takeBody()
    const { pieces } = this.#body
    const changed =
      body.length !== pieces.length || body.some((piece, index) => piece !== pieces[index])
    const answers = [
      changed
        ? changedBodyAnswer(routed, Buffer.concat(body), this.#isSized)
        : destinationAnswer(ANSWER.requestBody, routed),
    ]
    if (this.#sawTrailers) answers.push(EMPTY_REQUEST_TRAILERS)
    return answers
  }

  #responseHeaders() {
    // Without a pick it is Envoy's own answer, such as to a request that took too long: nobody waits for the pick.
    if (!this.#routed) return this.#answeredByGateway()
    if (this.#sawResponse) return this.#malformed('response_headers came twice')
    const headers = message.headers()
    if (headers === undefined) return this.#malformed('the headers of the message do not decode')
    const served = message.servedEndpoint()
    if (served === null) return this.#malformed('the metadata of the message does not decode')
    this.#sawResponse = true
    let answer = EMPTY_RESPONSE_HEADERS
    if (this.#watched) {
      const status = Number(headers.get(':status'))
      const set = this.#routed.responseHeaders(
        Number.isInteger(status) ? status : undefined,
        headers,
        served,
      )
      if (set !== undefined && set.size > 0) answer = responseHeadersAnswer(set)
    }
    if (message.endOfStream) {
      this.#stream.send([answer])
      return this.#completed()
    }
    this.#responseHeadersAnswer = answer
  }

  #responseBody(bytes: Buffer, mayKeep: boolean) {
    if (!this.#routed || this.#responseEnded) return
    const { bodyStart, bodyEnd } = message
    if (isFullDuplex(this.#responseMode)) {
      if (mayKeep) this.#responsePieces.add(bytes, bodyStart, bodyEnd)
      else this.#responsePieces.add(Buffer.from(message.body()), 0, bodyEnd - bodyStart)
      this.#responseEnded = message.endOfStream
      return
    }
    if (bodyEnd > bodyStart && this.#watched) {
      this.#routed.responseBody(mayKeep ? message.body() : Buffer.from(message.body()))
    }
    this.flush()
    this.#stream.send([EMPTY_RESPONSE_BODY])
    if (message.endOfStream) this.#completed()
  }

  #responseTrailers() {
    if (!this.#routed || this.#responseEnded) return
    this.flush()
    this.#stream.send([EMPTY_RESPONSE_TRAILERS])
    this.#completed()
  }

  /**
   * Ends the request after the request phase when nothing needs the response.
   *
   * The stream ends as well where that is safe. A full duplex response is not: what Envoy has sent here before it learns
   * of the end is lost to the client, and http2 in Node sends the end (the trailers) a turn of the event loop after the
   * last message, time enough for a fast answer. Such a response is passed on unseen.
   */
  #endIfUnwatched() {
    if (!this.#watched || !this.#routed || this.#routed.watchResponse) return
    if (this.#requestMode !== BODY_MODE.none && !this.#requestEnded) return
    this.#routed.end('not-watched')
    this.#watched = false
    if (isFullDuplex(this.#responseMode)) return
    this.#close()
    this.#stream.end()
  }

  #completed() {
    if (this.#watched) this.#routed?.end('completed')
    this.#close()
    this.#stream.end()
  }

  #answeredByGateway() {
    this.#shared.abandoned.inc()
    this.#sawResponse = true
    this.#close()
    this.#stream.end()
  }

  #gone(): void {
    if (this.#phase === 'closed') return
    if (!this.#routed) this.#shared.abandoned.inc()
    else if (this.#watched) this.#routed.end(this.#endReason())
    this.#close()
  }

  #endReason(): EndReason {
    // Without a body phase nothing tells the response's end but the end of the stream,
    if (this.#sawResponse) return this.#responseMode === BODY_MODE.none ? 'completed' : 'aborted'
    // and where the gateway does not send its headers either, the stream ends with the request phase.
    return this.#responseMode === BODY_MODE.none ? 'not-watched' : 'client-gone'
  }

  #refuse(error: unknown) {
    const code = answerCode(error)
    this.#shared.refused(code)
    if (code === 'INTERNAL') {
      this.#shared.logger.error('a request failed for a reason that is none of its own', {
        error: String(error),
        stack: error instanceof Error ? error.stack : undefined,
      })
    }
    this.#stream.send([immediateErrorAnswer(error)])
    this.#close()
    this.#stream.end()
  }

  #malformed(details: string) {
    this.#shared.malformed.inc()
    this.#shared.logger.warnOnce(
      `extproc-malformed-${details}`,
      `${details}: the stream was refused; is it Envoy's ext_proc that calls this port?`,
    )
    if (this.#watched) this.#routed?.end('aborted')
    this.#close()
    this.#stream.end(STATUS.invalidArgument, details)
  }

  /** A fault of this program while it handled a message. */
  #fault(error: unknown) {
    if (this.#phase === 'closed') return
    if (this.#routed === undefined) return this.#refuse(error)
    this.#shared.refused('INTERNAL')
    this.#shared.logger.error('an exchange failed after the pick', {
      error: String(error),
      stack: error instanceof Error ? error.stack : undefined,
    })
    if (this.#watched) this.#routed.end('aborted')
    this.#close()
    this.#stream.end()
  }

  #close(): void {
    if (this.#phase === 'closed') return
    const wasRouting = this.#phase === 'routing'
    this.#phase = 'closed'
    if (wasRouting) this.#cancellation?.cancel()
    this.#body.drop()
    this.#responsePieces.clear()
    if (this.#routed === undefined) this.#body.release()
    this.#shared.remove(this)
  }

  /** True where Envoy holds a changed body to the length that the request's headers say. */
  get #isSized(): boolean {
    return this.#requestMode === BODY_MODE.buffered && this.#headers.has('content-length')
  }

  get #isBuffered(): boolean {
    return (
      this.#requestMode === BODY_MODE.buffered || this.#requestMode === BODY_MODE.bufferedPartial
    )
  }
}

function changedBodyAnswer(routed: Routed, body: Buffer, isSized: boolean): Buffer {
  const setHeaders = new Map(routed.setHeaders)
  if (isSized) setHeaders.set('content-length', String(body.length))
  const { destination, removeHeaders } = routed
  return destinationAnswer(ANSWER.requestBody, { destination, setHeaders, removeHeaders }, { body })
}

function isFullDuplex(mode: number): boolean {
  return mode === BODY_MODE.fullDuplexStreamed || mode === BODY_MODE.grpc
}

/** Whether its body, kept where it is, would keep a much larger buffer, with what else came, from being freed. */
function isSmallPart({ buffer }: Buffer, { bodyStart, bodyEnd }: ProcessingRequest): boolean {
  return 4 * (bodyEnd - bodyStart) < buffer.byteLength
}
