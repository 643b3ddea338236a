import http from 'node:http'
import https from 'node:https'
import { connectionProblem, type KubeProblem, messageOf, statusProblem } from './problem.ts'

/** One request, and who takes its answer. */
export interface Exchange {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly body?: unknown
  /** Longest time without a byte, from the sending of the request on. */
  readonly idleMs: number
  readonly signal: AbortSignal | undefined
  readonly opened?: () => void
  /** A chunk of an answer with a good status; a problem ends the exchange with it. */
  readonly data: (chunk: Buffer) => KubeProblem | undefined
}

const MAX_STATUS_BYTES = 64 * 1024

/**
 * Sends one request and hands on what a good answer brings. Never rejects.
 *
 * @returns the problem that it ended with; undefined after the whole of a good answer
 */
export function exchange(
  server: string,
  agent: http.Agent,
  token: string | undefined,
  asked: Exchange,
): Promise<KubeProblem | undefined> {
  const { method, path, body, idleMs, signal } = asked
  const data = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  return new Promise((resolve) => {
    let done = false
    let request: http.ClientRequest | undefined
    const finish = (problem: KubeProblem | undefined) => {
      if (done) return
      done = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', stop)
      if (problem) request?.destroy()
      resolve(problem)
    }
    const stop = () => finish({ reason: 'stopped', text: 'stopped' })
    const timer = setTimeout(
      () => finish({ reason: 'silent', text: `no answer for ${idleMs} ms` }),
      idleMs,
    )
    const { request: open } = server.startsWith('https') ? https : http
    signal?.addEventListener('abort', stop, { once: true })
    try {
      request = open(
        server + path,
        {
          method,
          agent,
          headers: {
            accept: 'application/json',
            'user-agent': 'endpoint-picker',
            ...(token !== undefined && { authorization: `Bearer ${token}` }),
            ...(data && { 'content-type': 'application/json', 'content-length': data.length }),
          },
        },
        (response) => {
          timer.refresh()
          receive(response, asked, timer, finish)
        },
      )
      request.on('error', (error) => finish(connectionProblem(error)))
      request.end(data)
    } catch (error) {
      // A certificate or a token that cannot be used is found out here.
      finish({ reason: 'credentials', text: messageOf(error) })
    }
  })
}

function receive(
  response: http.IncomingMessage,
  asked: Exchange,
  timer: NodeJS.Timeout,
  finish: (problem: KubeProblem | undefined) => void,
): void {
  const status = response.statusCode ?? 0
  const good = status >= 200 && status < 300
  const chunks: Buffer[] = []
  let bytes = 0
  if (good) asked.opened?.()
  response.on('data', (chunk: Buffer) => {
    timer.refresh()
    if (good) {
      const problem = asked.data(chunk)
      if (problem) finish(problem)
    } else if ((bytes += chunk.length) <= MAX_STATUS_BYTES) chunks.push(chunk)
    else finish(statusProblem(status, undefined, retryAfterMs(response)))
  })
  response.on('error', () => finish({ reason: 'connect', text: 'the connection broke off' }))
  response.on('end', () => {
    finish(
      good
        ? undefined
        : statusProblem(status, statusMessage(Buffer.concat(chunks)), retryAfterMs(response)),
    )
  })
}

/** The message of a Status object; undefined when the body is something else. */
function statusMessage(body: Buffer): string | undefined {
  try {
    const { message } = JSON.parse(body.toString()) as { message?: unknown }
    return typeof message === 'string' ? message : undefined
  } catch {
    // A proxy's page, or nothing: the status alone is said.
    return undefined
  }
}

/** `retry-after` in seconds, as API servers send it. */
function retryAfterMs(response: http.IncomingMessage): number | undefined {
  const seconds = Number(response.headers['retry-after'] || Number.NaN)
  return seconds >= 0 ? seconds * 1000 : undefined
}
