import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SchedulerError } from '../framework/errors.ts'
import { refusalOf } from './access.ts'
import { type Answer, type Route, text } from './route.ts'
import { routesOf, unknownPage } from './routes.ts'
import type { AdminSources } from './sources.ts'

export type { AdminSources } from './sources.ts'

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

const HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'self'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
}

/** Metrics, health and the pages that explain, over plain HTTP. */
export class AdminServer {
  readonly #routes: readonly Route[]
  readonly #options: AdminOptions
  readonly #server: Server

  constructor(sources: AdminSources, options: AdminOptions) {
    this.#routes = routesOf(sources)
    this.#options = options
    this.#server = createServer(
      { requestTimeout: 10_000, headersTimeout: 5_000 },
      (request, response) => {
        this.#answer(request).then(
          (answer) => send(response, answer),
          (error: unknown) => {
            if (!response.headersSent) send(response, text(500, `${String(error)}\n`))
            else response.destroy()
          },
        )
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

  async #answer(request: IncomingMessage): Promise<Answer> {
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const url = new URL(request.url ?? '/', 'http://admin')
    const there = this.#routes.filter(({ path }) => fits(path, url.pathname))
    const route = there.find((each) => each.method === method)
    if (route === undefined && (there.length > 0 || method !== 'GET')) {
      const methods = [...new Set(there.map((each) => each.method))].join(' and ') || 'GET'
      return text(405, `only ${methods} is answered here\n`)
    }
    // Who may not read is not told what there is.
    const refusal = this.#refusal(request, route)
    if (refusal) return refusal
    if (route === undefined) return unknownPage(this.#routes)
    return route.answer({ request, url, rest: decoded(url.pathname.slice(route.path.length)) })
  }

  #refusal(request: IncomingMessage, route: Route | undefined): Answer | undefined {
    const { token } = this.#options
    const access = route?.access ?? 'reader'
    const isOpen = access === 'all' || (access === 'shell' && token !== undefined)
    return isOpen ? undefined : refusalOf(request, token)
  }
}

function fits(path: string, asked: string): boolean {
  if (path.length > 1 && path.endsWith('/')) {
    return asked.startsWith(path) && asked.length > path.length
  }
  return asked === path
}

/** The text behind percent signs; the text itself where it is none. */
function decoded(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    return encoded
  }
}

function send(response: ServerResponse, { status, type, body, headers }: Answer): void {
  response.writeHead(status, { ...HEADERS, ...headers, 'content-type': type })
  response.end(body)
}
