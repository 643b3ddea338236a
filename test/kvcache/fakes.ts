import {
  type Endpoint,
  type EndpointMetrics,
  hostPort,
  sharedPortName,
} from '../../src/framework/endpoint.ts'
import type {
  Clock,
  EndpointListener,
  Endpoints,
  LogFields,
  Logger,
  Metrics,
  Models,
  Notices,
} from '../../src/framework/services.ts'
import { KvCache, type KvCacheOptions } from '../../src/kvcache/kv-cache.ts'

/** A clock that stands still until it is moved. */
export class ManualClock implements Clock {
  ms = 1_000
  nowMs(): number {
    return this.ms
  }
  epochMs(): number {
    return 1_700_000_000_000 + this.ms
  }
}

/** Keeps what was logged. */
export class MemoryLogger implements Logger {
  readonly lines: { level: string; message: string; fields: LogFields }[] = []
  readonly #seen = new Set<string>()
  debug(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'debug', message, fields })
  }
  info(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'info', message, fields })
  }
  warn(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'warn', message, fields })
  }
  error(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'error', message, fields })
  }
  warnOnce(key: string, message: string, fields: LogFields = {}): void {
    if (this.#seen.has(key)) return
    this.#seen.add(key)
    this.warn(message, fields)
  }
  named(): Logger {
    return this
  }
}

/** Keeps sums by `name` or `name{value,...}` of the labels. */
export class MemoryMetrics implements Metrics {
  readonly sums = new Map<string, number>()
  readonly samples = new Map<
    string,
    () => Iterable<{ labels: Readonly<Record<string, string>>; value: number }>
  >()

  sum(key: string): number {
    return this.sums.get(key) ?? 0
  }
  counter(name: string, _help: string, labels: Readonly<Record<string, string>> = {}) {
    const values = Object.values(labels)
    const key = values.length === 0 ? name : `${name}{${values.join(',')}}`
    return { inc: (value = 1) => void this.sums.set(key, this.sum(key) + value) }
  }
  gauge(name: string) {
    return { set: (value: number) => void this.sums.set(name, value) }
  }
  histogram(name: string) {
    return { observe: (value: number) => void this.sums.set(name, this.sum(name) + value) }
  }
  observed(
    name: string,
    _help: string,
    samples: () => Iterable<{ labels: Readonly<Record<string, string>>; value: number }>,
  ): void {
    this.samples.set(name, samples)
  }
}

export class MemoryNotices implements Notices {
  readonly #texts = new Map<string, string>()
  set(key: string, text: string | undefined): void {
    if (text === undefined) this.#texts.delete(key)
    else this.#texts.set(key, text)
  }
  get(key: string): string | undefined {
    return this.#texts.get(key)
  }
  list() {
    return [...this.#texts].map(([key, text]) => ({ key, text, sinceEpochMs: 0 }))
  }
}

export interface EndpointGiven {
  readonly address?: string
  readonly port?: number
  readonly rank?: number
  /** True for one of several ranks behind one port. */
  readonly sharesPort?: boolean
  readonly metrics?: EndpointMetrics
}

/** Endpoints that come and go when told to; slots are used again. */
export class ManualEndpoints implements Endpoints {
  #list: readonly Endpoint[] = []
  readonly #listeners = new Set<EndpointListener>()
  #made = 0

  list(): readonly Endpoint[] {
    return this.#list
  }

  listen(listener: EndpointListener): () => void {
    this.#listeners.add(listener)
    for (const endpoint of this.#list) listener.added?.(endpoint, specOf(endpoint))
    return () => this.#listeners.delete(listener)
  }

  add(given: EndpointGiven = {}): Endpoint {
    const used = new Set(this.#list.map((endpoint) => endpoint.slot))
    let slot = 0
    while (used.has(slot)) slot++
    const address = given.address ?? '10.0.0.1'
    const port = given.port ?? 8000
    const rank = given.rank ?? 0
    const named = given.sharesPort ? sharedPortName(address, port, rank) : hostPort(address, port)
    const endpoint: Endpoint = {
      id: `default/e ${named} ${++this.#made}`,
      slot,
      namespace: 'default',
      name: `e${slot}`,
      address,
      port,
      hostPort: named,
      rank,
      labels: new Map(),
      metrics: given.metrics,
    }
    this.#list = [...this.#list, endpoint]
    for (const listener of this.#listeners) listener.added?.(endpoint, specOf(endpoint))
    return endpoint
  }

  /** Replaces what its metrics page says. */
  scraped(endpoint: Endpoint, metrics: EndpointMetrics): void {
    this.#list = this.#list.map((each) => (each.id === endpoint.id ? { ...each, metrics } : each))
  }

  remove(endpoint: Endpoint): void {
    this.#list = this.#list.filter((other) => other.id !== endpoint.id)
    for (const listener of this.#listeners) listener.removed?.(endpoint)
  }
}

function specOf(endpoint: Endpoint) {
  const { namespace, name, address, port, rank } = endpoint
  return { namespace, name, address, port, rank, labels: {} }
}

/** Models of which only base models are known. */
export function models(
  bases: readonly string[] = [],
  adapters: Record<string, string> = {},
): Models {
  return {
    serves: () => true,
    baseOf: (model) => adapters[model],
    isBase: (model) => bases.includes(model),
  }
}

/** A KvCache with services that a test can look into. */
export function createKvCache(
  known: Models = models(),
  maxMemoryBytes = 64 << 20,
  limits?: KvCacheOptions['limits'],
) {
  const clock = new ManualClock()
  const logger = new MemoryLogger()
  const metrics = new MemoryMetrics()
  const notices = new MemoryNotices()
  const endpoints = new ManualEndpoints()
  const cache = new KvCache({
    clock,
    logger,
    metrics,
    notices,
    endpoints,
    models: known,
    maxMemoryBytes,
    ...(limits && { limits }),
  })
  return { cache, clock, logger, metrics, notices, endpoints }
}

/** Fulfils when the condition holds. @throws after `deadlineMs` */
export async function until(condition: () => boolean, what: string, deadlineMs = 8000) {
  const startedMs = performance.now()
  while (!condition()) {
    if (performance.now() - startedMs > deadlineMs)
      throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
