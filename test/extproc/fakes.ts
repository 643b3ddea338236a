import type { Health } from '../../src/extproc/health.ts'
import type { Cancellation } from '../../src/framework/cancellation.ts'
import { SchedulerError } from '../../src/framework/errors.ts'
import type { EndReason, Usage } from '../../src/framework/plugin.ts'
import type {
  IncomingRequest,
  Logger,
  Metrics,
  Routed,
  Router,
} from '../../src/framework/services.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'

/** What a router has seen of one request. */
export interface Seen {
  readonly request: IncomingRequest
  readonly cancellation: Cancellation
  readonly ends: EndReason[]
  readonly responseBytes: Buffer[]
  status: number | undefined
  servedEndpoint: string | undefined
  responseHeaders: ReadonlyMap<string, string> | undefined
  usage: Usage | undefined
}

/**
 * A small router: the endpoint with the shortest queue within the subset, the model rewritten by header.
 *
 * `hold()` makes requests wait for `release()`.
 */
export class QueueRouter implements Router {
  /** `host:port` to queue length. */
  readonly queues = new Map([
    ['192.168.1.1:8000', 3],
    ['192.168.1.2:8000', 0],
    ['192.168.1.3:8000', 10],
  ])
  readonly seen: Seen[] = []
  watchResponse = true
  setHeaders: ReadonlyMap<string, string> = new Map()
  /** What `responseHeaders` answers. */
  responseHeaders: ReadonlyMap<string, string> | undefined
  failure: unknown
  #gate: Promise<void> | undefined
  #open: (() => void) | undefined

  get last(): Seen {
    return this.seen.at(-1)!
  }

  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve
    })
  }

  release(): void {
    this.#open?.()
    this.#gate = undefined
  }

  async route(request: IncomingRequest, cancellation: Cancellation): Promise<Routed> {
    const seen: Seen = {
      request,
      cancellation,
      ends: [],
      responseBytes: [],
      status: undefined,
      servedEndpoint: undefined,
      responseHeaders: undefined,
      usage: undefined,
    }
    this.seen.push(seen)
    await this.#gate
    if (this.failure !== undefined) throw this.failure
    let body = request.body
    if (body.length > 0) {
      const path = request.headers.get(':path') ?? ''
      const parse = request.bodySeen === 'part' ? openAiApi.parsePart : openAiApi.parse
      const { model } = parse(path, request.headers, body)
      if (model === '')
        throw new SchedulerError('MODEL_MISSING', 'the request names no model; set "model"')
      const target = request.headers.get('x-llm-d-model-name-rewrite')
      if (target !== undefined) body = openAiApi.rewriteModel(body, target)
    }
    const scanner = openAiApi.usageScanner()
    return {
      requestId: request.headers.get('x-request-id') ?? '',
      destination: this.#pick(request.subset),
      setHeaders: this.setHeaders,
      removeHeaders: ['x-llm-d-model-name-rewrite'],
      takeBody: () => body,
      watchResponse: this.watchResponse,
      responseHeaders: (status, headers, servedEndpoint) => {
        seen.status = status
        seen.servedEndpoint = servedEndpoint
        seen.responseHeaders = headers
        return this.responseHeaders
      },
      responseBody: (chunk) => {
        scanner.push(chunk)
        seen.responseBytes.push(Buffer.from(chunk))
      },
      end: (reason) => {
        seen.usage = scanner.usage()
        seen.ends.push(reason)
      },
    }
  }

  mayWatchResponse(): boolean {
    return this.watchResponse
  }

  #pick(subset: readonly string[] | undefined): string {
    const allowed = [...this.queues].filter(
      ([name]) => subset === undefined || subset.includes(name),
    )
    if (allowed.length === 0) {
      throw new SchedulerError('SUBSET_EMPTY', 'the gateway allows no endpoint that there is')
    }
    return allowed.reduce((best, next) => (next[1] < best[1] ? next : best))[0]
  }
}

/** Metrics that can be read: `name{label=value}` to number. */
export class CountingMetrics implements Metrics {
  readonly counts = new Map<string, number>()
  readonly #observed: (() => void)[] = []

  counter(name: string, _help: string, labels: Readonly<Record<string, string>> = {}) {
    const key = keyOf(name, labels)
    return { inc: (by = 1) => void this.counts.set(key, (this.counts.get(key) ?? 0) + by) }
  }

  gauge(name: string, _help: string, labels: Readonly<Record<string, string>> = {}) {
    return { set: (value: number) => void this.counts.set(keyOf(name, labels), value) }
  }

  histogram() {
    return { observe: () => {} }
  }

  observed(
    name: string,
    _help: string,
    samples: () => Iterable<{ labels: Readonly<Record<string, string>>; value: number }>,
  ): void {
    this.#observed.push(() => {
      for (const { labels, value } of samples()) this.counts.set(keyOf(name, labels), value)
    })
  }

  value(key: string): number {
    for (const read of this.#observed) read()
    return this.counts.get(key) ?? 0
  }
}

function keyOf(name: string, labels: Readonly<Record<string, string>>): string {
  const entries = Object.entries(labels).map(([label, value]) => `${label}=${value}`)
  return entries.length === 0 ? name : `${name}{${entries.join(',')}}`
}

/** A logger that keeps its lines. */
export function keepingLogger(): Logger & { readonly lines: string[] } {
  const lines: string[] = []
  const seen = new Set<string>()
  const keep = (level: string) => (message: string) => void lines.push(`${level} ${message}`)
  const logger = {
    lines,
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
    warnOnce: (key: string, message: string) => {
      if (seen.has(key)) return
      seen.add(key)
      lines.push(`warn ${message}`)
    },
    named: () => logger,
  }
  return logger
}

/** Health that is set by hand. */
export class SwitchedHealth implements Health {
  #ready = true
  readonly #listeners = new Set<() => void>()

  ready(): boolean {
    return this.#ready
  }

  listen(changed: () => void): () => void {
    this.#listeners.add(changed)
    return () => this.#listeners.delete(changed)
  }

  get listeners(): number {
    return this.#listeners.size
  }

  set(ready: boolean): void {
    this.#ready = ready
    for (const changed of this.#listeners) changed()
  }
}

/** Waits for a condition that other turns of the event loop bring about; rejects after thirty seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 30_000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`this did not happen within 30 s: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
