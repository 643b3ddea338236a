import { Client, type Dispatcher } from 'undici'
import { hostPort } from '../framework/endpoint.ts'

/** How model servers are spoken to. */
export interface EngineConnection {
  /** `http` when absent. */
  readonly scheme?: 'http' | 'https'
  /** True takes any certificate, as pods' own can hardly be verified; true when absent. */
  readonly insecureSkipVerify?: boolean
  /** Longest time for a connection. */
  readonly timeoutMs?: number
}

/** A client of one model server. */
export function engineClient(
  address: string,
  port: number,
  { scheme = 'http', insecureSkipVerify = true, timeoutMs }: EngineConnection,
): Client {
  return new Client(`${scheme}://${hostPort(address, port)}`, {
    connect: {
      rejectUnauthorized: !insecureSkipVerify,
      ...(timeoutMs !== undefined && { timeout: timeoutMs }),
    },
    // Below the five seconds after which uvicorn closes an idle connection.
    keepAliveTimeout: 4000,
  })
}

/** Why an HTTP GET gave nothing. */
export type GetFault = 'connect' | 'timeout' | 'status' | 'too-large' | 'aborted'

export type GetAnswer =
  | { readonly body: Buffer }
  | { readonly fault: GetFault; readonly detail: string }

/**
 * The body of one GET, or why there is none; never rejects.
 *
 * The client's dispatch is used as it is: the streams that its other methods make cost as much as all the rest.
 * @param stop ends the request at once
 */
export function get(
  client: Client,
  path: string,
  maxBytes: number,
  timeoutMs: number,
  stop: AbortSignal,
): Promise<GetAnswer> {
  return new Promise((resolve) => {
    const answer = new AnswerCollector(maxBytes, (result) => {
      clearTimeout(timer)
      stop.removeEventListener('abort', onStop)
      resolve(result)
    })
    const onStop = () => answer.fail('aborted', 'stopped')
    const timer = setTimeout(
      () => answer.fail('timeout', `no answer in ${timeoutMs} ms`),
      timeoutMs,
    )
    if (stop.aborted) return onStop()
    stop.addEventListener('abort', onStop, { once: true })
    try {
      client.dispatch({ method: 'GET', path }, answer)
    } catch (error) {
      answer.onResponseError(undefined, error as Error)
    }
  })
}

/** Collects one response; the first outcome counts. */
class AnswerCollector implements Dispatcher.DispatchHandler {
  readonly #maxBytes: number
  readonly #resolve: (answer: GetAnswer) => void
  readonly #chunks: Buffer[] = []
  #bytes = 0
  #status = 0
  #done = false
  #controller: Dispatcher.DispatchController | undefined

  constructor(maxBytes: number, resolve: (answer: GetAnswer) => void) {
    this.#maxBytes = maxBytes
    this.#resolve = resolve
  }

  fail(fault: GetFault, detail: string): void {
    if (this.#done) return
    this.#finish({ fault, detail })
    this.#controller?.abort(new Error(detail))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    // It gave up while it waited for the connection.
    if (this.#done) controller.abort(new Error('too late'))
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number): void {
    this.#status = status
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > this.#maxBytes) this.fail('too-large', `more than ${this.#maxBytes} bytes`)
    else if (this.#status === 200) this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    if (this.#status !== 200) {
      this.#finish({ fault: 'status', detail: `HTTP status ${this.#status}` })
      return
    }
    const chunks = this.#chunks
    this.#finish({ body: chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, this.#bytes) })
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    const { code } = error as { code?: string }
    this.#finish({ fault: 'connect', detail: code ?? error.message })
  }

  #finish(answer: GetAnswer): void {
    if (this.#done) return
    this.#done = true
    this.#resolve(answer)
  }
}
