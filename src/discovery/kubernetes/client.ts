import { readFile, stat } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { type Exchange, exchange } from './exchange.ts'
import { type Connection, type ConnectionSources, findConnection, type Pem } from './kubeconfig.ts'
import { LineSplitter } from './line-splitter.ts'
import { type KubeProblem, messageOf } from './problem.ts'

/** What the API server said, or why it said nothing of use. */
export type Answer<T> =
  | { readonly value: T; readonly problem?: undefined }
  | { readonly value?: undefined; readonly problem: KubeProblem }

/** One page of a list. */
export interface Page {
  readonly items: readonly unknown[]
  /** Asks for the next page; empty after the last. */
  readonly continueToken: string
  readonly resourceVersion: string
}

/** Takes a watch as it comes. */
export interface WatchTaker {
  /** The server has accepted the watch. */
  opened(): void
  /** Whole lines, one event each; a problem ends the watch with it. */
  lines(lines: readonly string[]): KubeProblem | undefined
}

/** Limits of the client; what is absent has its default. */
export interface KubeClientLimits {
  /** An answer must begin, and go on, within this time; 10 s. */
  readonly answerMs?: number
  /** Longest JSON answer; 64 MiB. */
  readonly maxAnswerBytes?: number
  /** Longest event of a watch; 8 MiB (etcd holds objects up to 1.5 MiB). */
  readonly maxLineBytes?: number
}

type Query = Readonly<Record<string, string>>

const MIB = 1024 * 1024

/**
 * Speaks to the API server over connections that are kept. Nothing throws: a request ends in an answer or in a problem.
 *
 * A token in a file is read for each request, since it may be rotated at any time; certificates when their files change.
 */
export class KubeClient {
  readonly connection: Connection
  readonly #answerMs: number
  readonly #maxAnswerBytes: number
  readonly #maxLineBytes: number
  #agent: { readonly stamp: string; readonly agent: http.Agent } | undefined
  #closed = false

  constructor(connection: Connection, limits: KubeClientLimits = {}) {
    this.connection = connection
    this.#answerMs = limits.answerMs ?? 10_000
    this.#maxAnswerBytes = limits.maxAnswerBytes ?? 64 * MIB
    this.#maxLineBytes = limits.maxLineBytes ?? 8 * MIB
  }

  /**
   * A client of the API server that is found where `findConnection` looks.
   *
   * @throws {SchedulerError} START_FAILED when there is none, or what is there cannot be used
   */
  static open(
    sources: Omit<ConnectionSources, 'env'> & Partial<Pick<ConnectionSources, 'env'>>,
    limits: KubeClientLimits = {},
  ): KubeClient {
    return new KubeClient(findConnection({ env: process.env, ...sources }), limits)
  }

  /** The namespace of the kubeconfig's context, or of this pod. */
  get namespace(): string {
    return this.connection.namespace
  }

  get(path: string, signal?: AbortSignal): Promise<Answer<unknown>> {
    return this.#json('GET', path, undefined, signal)
  }

  /** Creates an object in the collection at `path`; gives the stored one. */
  create(path: string, object: unknown, signal?: AbortSignal): Promise<Answer<unknown>> {
    return this.#json('POST', path, object, signal)
  }

  /** Replaces the object at `path`; a `conflict` when its resourceVersion is not the current one. */
  update(path: string, object: unknown, signal?: AbortSignal): Promise<Answer<unknown>> {
    return this.#json('PUT', path, object, signal)
  }

  /** One page of the collection at `path`. */
  async list(path: string, query: Query, signal?: AbortSignal): Promise<Answer<Page>> {
    const answer = await this.get(withQuery(path, query), signal)
    if (answer.problem) return answer
    const { items, metadata } = (answer.value ?? {}) as {
      items?: unknown
      metadata?: { continue?: unknown; resourceVersion?: unknown }
    }
    const continueToken = metadata?.continue ?? ''
    const resourceVersion = metadata?.resourceVersion
    if (
      !(Array.isArray(items) || items === null) ||
      typeof continueToken !== 'string' ||
      typeof resourceVersion !== 'string' ||
      resourceVersion === ''
    ) {
      return { problem: { reason: 'malformed', text: `the answer to ${path} is no list` } }
    }
    return { value: { items: items ?? [], continueToken, resourceVersion } }
  }

  /**
   * Watches the collection at `path` until the server ends it (undefined) or something goes wrong.
   *
   * @param idleMs longest time without a byte
   */
  async watch(
    path: string,
    query: Query,
    idleMs: number,
    taker: WatchTaker,
    signal: AbortSignal,
  ): Promise<KubeProblem | undefined> {
    const splitter = new LineSplitter(this.#maxLineBytes)
    return this.#exchange({
      method: 'GET',
      path: withQuery(path, { ...query, watch: 'true' }),
      idleMs,
      signal,
      opened: () => taker.opened(),
      data: (chunk) => {
        const lines = splitter.push(chunk)
        return lines === undefined
          ? { reason: 'too_large', text: `an event has more than ${this.#maxLineBytes} bytes` }
          : taker.lines(lines)
      },
    })
  }

  /** Ends every connection. */
  close(): void {
    this.#closed = true
    this.#agent?.agent.destroy()
  }

  async #json(
    method: Exchange['method'],
    path: string,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<Answer<unknown>> {
    const chunks: Buffer[] = []
    let bytes = 0
    const problem = await this.#exchange({
      ...{ method, path, body, signal, idleMs: this.#answerMs },
      data: (chunk) => {
        chunks.push(chunk)
        bytes += chunk.length
        return bytes <= this.#maxAnswerBytes
          ? undefined
          : { reason: 'too_large', text: `an answer has more than ${this.#maxAnswerBytes} bytes` }
      },
    })
    if (problem) return { problem }
    try {
      return { value: JSON.parse(Buffer.concat(chunks, bytes).toString()) as unknown }
    } catch {
      // The parser's message would show a piece of the answer.
      return { problem: { reason: 'malformed', text: `an answer of ${bytes} bytes is no JSON` } }
    }
  }

  /** One request with its answer; the problem it ends with, or undefined after a good answer's end. */
  async #exchange(request: Exchange): Promise<KubeProblem | undefined> {
    let agent: http.Agent
    let token: string | undefined
    try {
      ;[agent, token] = await Promise.all([this.#currentAgent(), this.#currentToken()])
    } catch (error) {
      return { reason: 'credentials', text: messageOf(error) }
    }
    if (this.#closed || request.signal?.aborted) return { reason: 'stopped', text: 'stopped' }
    return exchange(this.connection.server, agent, token, request)
  }

  async #currentToken(): Promise<string | undefined> {
    const { token } = this.connection
    if (token === undefined || 'text' in token) return token?.text
    const text = (await readFile(token.file, 'utf8')).trim()
    // Node refuses such a header, with a message that does not say where it comes from.
    if (!/^[\x21-\x7e]+$/.test(text)) throw new Error(`${token.file} holds no token`)
    return text
  }

  /** The agent with the certificates as their files are now. */
  async #currentAgent(): Promise<http.Agent> {
    const { ca, clientCertificate, verify, tlsServerName, server } = this.connection
    const pems = [ca, clientCertificate?.certificate, clientCertificate?.key]
    const stamp = (await Promise.all(pems.map(stampOf))).join(' ')
    if (this.#agent?.stamp === stamp) return this.#agent.agent
    const [caPem, certPem, keyPem] = await Promise.all(pems.map(pemOf))
    const kept = { keepAlive: true, keepAliveMsecs: 15_000 }
    const agent = server.startsWith('https')
      ? new https.Agent({
          ...kept,
          rejectUnauthorized: verify,
          ...(caPem && { ca: caPem }),
          ...(certPem && { cert: certPem }),
          ...(keyPem && { key: keyPem }),
          ...(tlsServerName && { servername: tlsServerName }),
        })
      : new http.Agent(kept)
    // Two requests may come here at once: the first one's agent stays.
    if (this.#agent?.stamp === stamp) return this.#agent.agent
    this.#agent?.agent.destroy()
    this.#agent = { stamp, agent }
    return agent
  }
}

function withQuery(path: string, query: Query): string {
  return `${path}?${new URLSearchParams(query).toString()}`
}

/** Changes when the file is written or replaced. */
async function stampOf(pem: Pem | undefined): Promise<string> {
  if (pem === undefined || 'data' in pem) return ''
  const { ino, size, mtimeMs } = await stat(pem.file)
  return `${ino}:${size}:${mtimeMs}`
}

async function pemOf(pem: Pem | undefined): Promise<Buffer | undefined> {
  return pem && ('data' in pem ? pem.data : readFile(pem.file))
}
