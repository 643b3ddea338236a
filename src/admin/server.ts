import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SchedulerError } from '../framework/errors.ts'
import type { DecisionLog } from '../framework/routing/decision.ts'
import { decisionJson } from './decision-json.ts'

/** One condition of readiness. */
export interface ReadyCheck {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
}

/** What the pages are made from. */
export interface AdminSources {
  readonly metricsContentType: string
  metricsText(): Promise<string>
  ready(): readonly ReadyCheck[]
  /** What is blind, stale or without effect; does not make the picker unready. */
  notices(): readonly {
    readonly key: string
    readonly text: string
    readonly sinceEpochMs: number
  }[]
  endpoints(): readonly unknown[]
  configuration(): unknown
  readonly decisions: DecisionLog
}

export interface AdminOptions {
  /** All addresses, IPv6 and IPv4, when absent. */
  readonly host?: string
  readonly port: number
  /** Bearer token for all but metrics and health; without one these answer loopback only. */
  readonly token: string | undefined
  /** Connections at once; one that comes beyond is closed and `dropped` called. No limit when absent. */
  readonly maxConnections?: number
  readonly dropped?: () => void
}

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1000
const JSON_TYPE = 'application/json; charset=utf-8'
const TEXT_TYPE = 'text/plain; charset=utf-8'
const HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'self'",
  'x-content-type-options': 'nosniff',
}

/** Metrics, health and the pages that explain, over plain HTTP. */
export class AdminServer {
  readonly #sources: AdminSources
  readonly #options: AdminOptions
  readonly #server: Server

  constructor(sources: AdminSources, options: AdminOptions) {
    this.#sources = sources
    this.#options = options
    this.#server = createServer(
      { requestTimeout: 10_000, headersTimeout: 5_000 },
      (request, response) => {
        this.#answer(request, response).catch((error: unknown) => {
          if (!response.headersSent) send(response, 500, TEXT_TYPE, `${String(error)}\n`)
          else response.destroy()
        })
      },
    )
    if (options.maxConnections !== undefined) this.#server.maxConnections = options.maxConnections
    this.#server.on('drop', () => options.dropped?.())
  }

  /**
   * @returns the port that listens
   * @throws {SchedulerError} PORT_IN_USE
   */
  start(): Promise<number> {
    const { host, port } = this.#options
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) =>
        reject(
          cause.code === 'EADDRINUSE'
            ? new SchedulerError(
                'PORT_IN_USE',
                `port ${port} is in use; free it or choose another with --metrics-port`,
                { cause },
              )
            : cause,
        ),
      )
      this.#server.listen({ port, ...(host !== undefined && { host }) }, () =>
        resolve((this.#server.address() as AddressInfo).port),
      )
    })
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeAllConnections()
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return send(response, 405, TEXT_TYPE, 'only GET is answered here\n')
    }
    const url = new URL(request.url ?? '/', 'http://admin')
    const sources = this.#sources
    switch (url.pathname) {
      case '/metrics':
        return send(response, 200, sources.metricsContentType, await sources.metricsText())
      case '/healthz':
        return send(response, 200, TEXT_TYPE, 'ok\n')
      case '/readyz':
        return this.#readiness(url.searchParams.has('verbose'), response)
    }
    if (!this.#mayRead(request)) {
      return sendJson(response, this.#options.token === undefined ? 403 : 401, {
        error:
          this.#options.token === undefined
            ? 'this page answers loopback only; start with --admin-token-file to read it from elsewhere'
            : 'send the token of --admin-token-file as "authorization: Bearer ..."',
      })
    }
    if (url.pathname === '/') return send(response, 200, TEXT_TYPE, PAGES)
    if (url.pathname === '/endpoints') return sendJson(response, 200, sources.endpoints())
    if (url.pathname === '/config') return sendJson(response, 200, sources.configuration())
    if (url.pathname === '/decisions') {
      return sendJson(response, 200, sources.decisions.list(limitOf(url)).map(decisionJson))
    }
    if (url.pathname.startsWith('/decisions/')) {
      const id = decoded(url.pathname.slice('/decisions/'.length))
      const decision = sources.decisions.find(id)
      if (decision) return sendJson(response, 200, decisionJson(decision))
      return sendJson(response, 404, {
        error: `no decision for request "${id}" among the last ones kept`,
      })
    }
    sendJson(response, 404, {
      error: `no such page; there are: ${PAGES.trim().split('\n').join(', ')}`,
    })
  }

  #readiness(verbose: boolean, response: ServerResponse): void {
    const checks = this.#sources.ready()
    const ready = checks.every(({ ok }) => ok)
    const lines = verbose
      ? [
          ...checks.map(({ name, ok, detail }) => `[${ok ? '+' : '-'}] ${name}: ${detail}`),
          ...this.#sources
            .notices()
            .map(
              ({ key, text, sinceEpochMs }) =>
                `[!] ${key}: ${text} (since ${new Date(sinceEpochMs).toISOString()})`,
            ),
        ]
      : []
    send(
      response,
      ready ? 200 : 503,
      TEXT_TYPE,
      `${[...lines, ready ? 'ready' : 'not ready'].join('\n')}\n`,
    )
  }

  #mayRead(request: IncomingMessage): boolean {
    const { token } = this.#options
    if (token === undefined) return isLoopback(request.socket.remoteAddress ?? '')
    const given = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    return timingSafeEqual(digest(given), digest(token))
  }
}

const PAGES =
  '/metrics\n/healthz\n/readyz?verbose\n/endpoints\n/decisions\n/decisions/<x-request-id>\n/config\n'

/** The text behind percent signs; the text itself where it is none. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.')
}

function limitOf(url: URL): number {
  const limit = Number(url.searchParams.get('limit') ?? DEFAULT_LIMIT)
  return Number.isInteger(limit) && limit > 0 ? Math.min(limit, MAX_LIMIT) : DEFAULT_LIMIT
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  send(response, status, JSON_TYPE, `${JSON.stringify(value, null, 2)}\n`)
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { ...HEADERS, 'content-type': type })
  response.end(body)
}
