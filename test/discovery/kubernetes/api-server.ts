import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ApiStore, type AppliedObject, KINDS } from './api-store.ts'
import { keyOf, type StoredObject, selectionOf } from './api-table.ts'

export interface ApiServerOptions {
  /** Serves TLS with these; clients must show a certificate of `clientCa` when that is given. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly clientCa?: string }
  /** Only this bearer token is accepted; any when absent. */
  readonly token?: string
  /** Time between bookmarks; 500 ms. */
  readonly bookmarkMs?: number
}

/** One answered request. */
export interface LoggedRequest {
  readonly method: string
  /** The plural. */
  readonly resource: string
  readonly watch: boolean
  readonly status: number
  readonly query: URLSearchParams
  /** When it was answered, in monotonic milliseconds. */
  readonly atMs: number
}

export type { AppliedObject } from './api-store.ts'

interface Failure {
  readonly status: number
  times: number
  readonly headers: Readonly<Record<string, string>>
}

/** One request, taken apart. */
interface Asked {
  readonly apiVersion: string
  readonly namespace: string | undefined
  readonly plural: string
  readonly name: string | undefined
  readonly query: URLSearchParams
  readonly body: AppliedObject | undefined
  reply(status: number, body: unknown, headers?: Readonly<Record<string, string>>): void
  refuse(status: number, message: string, headers?: Readonly<Record<string, string>>): void
}

const PATH =
  /^\/(?:api|apis)\/(v1|[^/]+\/[^/]+)(?:\/namespaces\/([^/]+))?(?:\/([^/]+)(?:\/([^/]+))?)?$/
const MOST_LOGGED = 10_000

/**
 * An API server for tests: lists in pages, watches, writes with conflicts, bearer tokens, TLS, and faults on demand, with the
 * answers of a real kube-apiserver. It has no schemas, no admission and no RBAC.
 */
export class ApiServer extends ApiStore {
  /** Answered requests, in order. */
  readonly requests: LoggedRequest[] = []
  /** Only this bearer token is accepted; any when undefined. */
  token: string | undefined
  /** The next so many pages after the first get 410. */
  expiredPages = 0
  /** Accepts connections and answers nothing. */
  frozen = false
  readonly #options: ApiServerOptions
  readonly #failures = new Map<string, Failure[]>()
  readonly #pages = new Map<string, { rest: readonly StoredObject[]; version: string }>()
  readonly #sockets = new Set<Socket>()
  #server: http.Server | undefined
  #port = 0
  #folder: string | undefined
  #files = 0

  constructor(options: ApiServerOptions = {}) {
    super(options.bookmarkMs ?? 500)
    this.#options = options
    this.token = options.token
  }

  get url(): string {
    return `${this.#options.tls ? 'https' : 'http'}://127.0.0.1:${this.#port}`
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size
  }

  /** Listens; after a stop, on the same port, without a history, and refusing at first as a real one does. */
  async start(): Promise<void> {
    if (this.#port !== 0) this.restarted()
    const take = (request: http.IncomingMessage, response: http.ServerResponse) =>
      void this.#take(request, response)
    const { tls } = this.#options
    this.#server = tls
      ? https.createServer(
          {
            ...{ key: tls.key, cert: tls.cert },
            ...(tls.clientCa && { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
          },
          take,
        )
      : http.createServer(take)
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    await new Promise<void>((done, failed) => {
      this.#server!.once('error', failed)
      this.#server!.listen(this.#port, '127.0.0.1', done)
    })
    this.#port = (this.#server.address() as AddressInfo).port
  }

  /** Cuts every connection and closes the port. */
  async stop(): Promise<void> {
    const server = this.#server
    if (!server) return
    this.#server = undefined
    const closed = new Promise<void>((done) => server.close(() => done()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  /** Stops, and removes the files that were made. */
  async close(): Promise<void> {
    await this.stop()
    if (this.#folder) rmSync(this.#folder, { recursive: true })
  }

  /** A new kubeconfig file for this server, whose user is `user`. */
  kubeconfigFile(user: Readonly<Record<string, unknown>> = { token: this.token ?? 'any' }): string {
    this.#folder ??= mkdtempSync(join(tmpdir(), 'epp-kubeconfig-'))
    const file = join(this.#folder, `config-${this.#files++}`)
    const { tls } = this.#options
    const ca = tls && Buffer.from(tls.cert).toString('base64')
    const cluster = { server: this.url, ...(ca && { 'certificate-authority-data': ca }) }
    const context = { cluster: 'test', user: 'test', namespace: 'default' }
    writeFileSync(
      file,
      JSON.stringify({
        ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
        contexts: [{ name: 'test', context }],
        clusters: [{ name: 'test', cluster }],
        users: [{ name: 'test', user }],
      }),
    )
    return file
  }

  /** Answers the next requests for a resource (`apiVersion/plural`, a plural, or `*`) with a status. */
  fail(resource: string, status: number, times = 1, retryAfterSeconds?: number): void {
    const failures = this.#failures.get(resource) ?? []
    this.#failures.set(resource, failures)
    const headers: Record<string, string> =
      retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) }
    failures.push({ status, times, headers })
  }

  /** Ends every fault. */
  heal(): void {
    this.#failures.clear()
    this.watches.silent = this.frozen = false
  }

  /** What follows a restart: 403 until the rights are loaded, 429 until the store is, and no history. */
  restarted(): void {
    this.compact()
    for (const plural of new Set(KINDS.map((kind) => kind.plural))) {
      this.fail(plural, 403)
      this.fail(plural, 429, 1, 1)
    }
  }

  async #take(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(request.url!, 'http://localhost')
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (this.frozen) return
    const [, apiVersion = '', namespace, plural = '', name] = PATH.exec(pathname) ?? []
    const method = request.method!
    const watch = query.get('watch') === 'true'
    const log = (status: number) => {
      this.requests.push({
        method,
        resource: plural,
        watch,
        status,
        query,
        atMs: performance.now(),
      })
      if (this.requests.length > MOST_LOGGED) this.requests.splice(0, MOST_LOGGED / 2)
    }
    const text = Buffer.concat(chunks).toString()
    const asked: Asked = {
      ...{ apiVersion, namespace, plural, name, query },
      body: text === '' ? undefined : (JSON.parse(text) as AppliedObject),
      reply(status, body, headers) {
        log(status)
        response
          .writeHead(status, { 'content-type': 'application/json', ...headers })
          .end(JSON.stringify(body))
      },
      refuse(status, message, headers) {
        this.reply(status, { kind: 'Status', status: 'Failure', message, code: status }, headers)
      },
    }
    const failure = this.#failureFor(apiVersion, plural)
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      asked.refuse(401, 'Unauthorized')
    } else if (failure) asked.refuse(failure.status, 'on demand', failure.headers)
    else if (plural === '') this.#discover(asked)
    else if (!this.isServed(`${apiVersion}/${plural}`)) {
      asked.refuse(404, 'the server could not find the requested resource')
    } else if (method === 'GET' && name === undefined && watch) {
      const resource = `${apiVersion}/${plural}`
      const selection = selectionOf(namespace, query)
      log(this.watches.open(resource, this.table(resource), selection, query, response))
    } else if (method === 'GET' && name === undefined) this.#list(asked)
    else this.#object(method, asked)
  }

  #failureFor(apiVersion: string, plural: string): Failure | undefined {
    for (const resource of [`${apiVersion}/${plural}`, plural, '*']) {
      const failures = this.#failures.get(resource)
      const failure = failures?.[0]
      if (!failures || !failure) continue
      if (--failure.times <= 0) failures.shift()
      return failure
    }
    return undefined
  }

  #discover(asked: Asked): void {
    const names = this.servedBy(asked.apiVersion)
    if (names.length === 0) asked.refuse(404, 'no such API')
    else asked.reply(200, { kind: 'APIResourceList', resources: names.map((name) => ({ name })) })
  }

  #list(asked: Asked): void {
    const { apiVersion, plural, namespace, query } = asked
    const token = query.get('continue')
    const page = token === null ? undefined : this.#pages.get(token)
    if (token !== null && (this.expiredPages > 0 || !page)) {
      this.expiredPages--
      asked.refuse(410, 'The provided continue parameter is too old')
      return
    }
    // A list goes on in the state in which it began.
    const { rest, version } = page ?? {
      rest: this.table(`${apiVersion}/${plural}`).select(selectionOf(namespace, query)),
      version: String(this.version),
    }
    const limit = Number(query.get('limit') ?? Number.POSITIVE_INFINITY)
    const more = rest.length > limit ? `page-${this.#pages.size}` : undefined
    if (more) this.#pages.set(more, { rest: rest.slice(limit), version })
    asked.reply(200, {
      kind: 'List',
      metadata: { resourceVersion: version, ...(more && { continue: more }) },
      items: rest.slice(0, limit),
    })
  }

  #object(method: string, asked: Asked): void {
    const { apiVersion, plural, namespace = 'default', body } = asked
    const resource = `${apiVersion}/${plural}`
    const name = asked.name ?? body?.metadata.name ?? ''
    const old = this.table(resource).objects.get(keyOf(namespace, name))
    if (method === 'POST' && old) asked.refuse(409, `${plural} "${name}" already exists`)
    else if (method === 'POST') asked.reply(201, this.put(resource, namespace, body!))
    else if (!old) asked.refuse(404, `${plural} "${name}" not found`)
    else if (method === 'GET') asked.reply(200, old)
    else if (method !== 'PUT') asked.refuse(405, 'not allowed')
    else if (body!.metadata.resourceVersion !== old.metadata.resourceVersion) {
      asked.refuse(409, 'the object has been modified')
    } else asked.reply(200, this.put(resource, namespace, body!))
  }
}
