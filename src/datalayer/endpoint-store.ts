import {
  type Endpoint,
  type EndpointMetrics,
  type EndpointSpec,
  hostPort,
  sharedPortName,
} from '../framework/endpoint.ts'
import { DEFAULT_LIMITS } from '../framework/limits.ts'
import type {
  Counter,
  EndpointListener,
  EndpointMetricsSink,
  EndpointSink,
  Endpoints,
  Logger,
  Metrics,
  Notices,
} from '../framework/services.ts'

interface Living {
  readonly spec: EndpointSpec
  endpoint: Endpoint
}

/**
 * The endpoints there are, from every source of discovery.
 *
 * An endpoint is known by its address and port. The same address and port with another name, uid or rank is another server:
 * a removal and an addition. Other labels change it in place. Where two sources (or two entries of one) claim an
 * address and port, the first source that spoke has it, and a notice says so.
 *
 * Where servers have several ranks behind their port, each rank is an endpoint; a server with several ports has ranks with
 * ports of their own, and is taken as it is.
 */
export class EndpointStore implements Endpoints, EndpointSink, EndpointMetricsSink {
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #added: Counter
  readonly #removed: Counter
  readonly #updated: Counter
  /** In the order in which the sources first spoke. */
  readonly #sources = new Map<string, readonly EndpointSpec[]>()
  /** By the endpoint's `hostPort`. */
  readonly #living = new Map<string, Living>()
  readonly #byId = new Map<string, Living>()
  readonly #listeners = new Set<EndpointListener>()
  readonly #freeSlots: number[] = []
  readonly #maxEndpoints: number
  #ranksPerPort = 1
  #leftOut = 0
  #slots = 0
  #incarnations = 0
  #list: readonly Endpoint[] | undefined = Object.freeze([])

  /** @param maxEndpoints those that come after so many are left out, and a notice says so */
  constructor(
    services: { readonly logger: Logger; readonly metrics: Metrics; readonly notices: Notices },
    maxEndpoints: number = DEFAULT_LIMITS.maxEndpoints,
  ) {
    this.#maxEndpoints = maxEndpoints
    this.#logger = services.logger.named('endpoints')
    this.#notices = services.notices
    const changes = (change: string) =>
      services.metrics.counter(
        'epp_endpoint_changes_total',
        'Endpoints that came, went or changed.',
        {
          change,
        },
      )
    this.#added = changes('added')
    this.#removed = changes('removed')
    this.#updated = changes('updated')
    services.metrics.observed('epp_endpoints', 'Endpoints that can be picked.', () => [
      { labels: {}, value: this.#living.size },
    ])
    services.metrics.observed(
      'epp_endpoints_left_out',
      'Endpoints that discovery names beyond those that a pool may have.',
      () => [{ labels: {}, value: this.#leftOut }],
    )
  }

  list(): readonly Endpoint[] {
    this.#list ??= Object.freeze(Array.from(this.#living.values(), ({ endpoint }) => endpoint))
    return this.#list
  }

  listen(listener: EndpointListener): () => void {
    this.#listeners.add(listener)
    for (const { endpoint, spec } of this.#living.values()) listener.added?.(endpoint, spec)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  replace(source: string, specs: readonly EndpointSpec[]): void {
    this.#sources.set(source, specs)
    this.#apply()
  }

  /**
   * How many ranks every server with one port has behind it. Another number than before takes endpoints away and adds others;
   * ranks that were there and still are stay.
   *
   * @param ranks 1 where servers have no ranks, or ports of their own for them
   */
  setRanksPerPort(ranks: number): void {
    if (ranks === this.#ranksPerPort) return
    this.#ranksPerPort = ranks
    this.#apply()
  }

  #apply(): void {
    const wanted = this.#wanted()
    for (const [key, living] of [...this.#living]) {
      const spec = wanted.get(key)
      if (spec === undefined || isAnother(living.spec, spec)) this.#remove(key, living)
    }
    for (const [key, spec] of wanted) {
      const living = this.#living.get(key)
      if (living === undefined) this.#add(key, spec)
      else if (!sameLabels(living.spec, spec)) this.#update(key, living, spec)
    }
  }

  setMetrics(endpointId: string, metrics: EndpointMetrics | undefined): void {
    const living = this.#byId.get(endpointId)
    // A scrape may come back after its endpoint has gone.
    if (living === undefined) return
    living.endpoint = Object.freeze({ ...living.endpoint, metrics })
    this.#list = undefined
  }

  #wanted(): Map<string, EndpointSpec> {
    const wanted = new Map<string, EndpointSpec>()
    const seen = new Set<string>()
    const claimed: string[] = []
    let left = 0
    for (const [source, specs] of this.#sources) {
      const ports = portsByServer(specs)
      for (const spec of specs) {
        const at = hostPort(spec.address, spec.port)
        if (seen.has(at)) {
          claimed.push(`${spec.namespace}/${spec.name} at ${at} (${source})`)
          continue
        }
        seen.add(at)
        const ranks = ports.get(serverOf(spec)) === 1 ? this.#ranksPerPort : 1
        // A server is taken as a whole or not at all.
        if (wanted.size + ranks > this.#maxEndpoints) left += ranks
        else if (ranks === 1) wanted.set(at, spec)
        else {
          for (let rank = 0; rank < ranks; rank++) {
            wanted.set(sharedPortName(spec.address, spec.port, rank), { ...spec, rank })
          }
        }
      }
    }
    this.#leftOut = left
    this.#notices.set(
      'endpoints-too-many',
      left === 0
        ? undefined
        : `${left} endpoints are left out, since a pool has at most ${this.#maxEndpoints}; raise --max-endpoints`,
    )
    this.#notices.set(
      'endpoints-claimed-twice',
      claimed.length === 0
        ? undefined
        : `left out, since another endpoint has the address and port: ${listText(claimed)}`,
    )
    return wanted
  }

  #add(key: string, spec: EndpointSpec): void {
    const slot = this.#freeSlots.pop() ?? this.#slots++
    const endpoint: Endpoint = Object.freeze({
      id: `${spec.namespace}/${spec.name} ${key} ${++this.#incarnations}`,
      slot,
      namespace: spec.namespace,
      name: spec.name,
      address: spec.address,
      port: spec.port,
      hostPort: key,
      rank: spec.rank,
      labels: new Map(Object.entries(spec.labels)),
      metrics: undefined,
    })
    const living = { spec, endpoint }
    this.#living.set(key, living)
    this.#byId.set(endpoint.id, living)
    this.#list = undefined
    this.#added.inc()
    this.#tell((listener) => listener.added?.(endpoint, spec))
  }

  #remove(key: string, { endpoint }: Living): void {
    this.#living.delete(key)
    this.#byId.delete(endpoint.id)
    this.#list = undefined
    this.#removed.inc()
    this.#tell((listener) => listener.removed?.(endpoint))
    this.#freeSlots.push(endpoint.slot)
  }

  #update(key: string, living: Living, spec: EndpointSpec): void {
    const labels = new Map(Object.entries(spec.labels))
    const updated = { spec, endpoint: Object.freeze({ ...living.endpoint, labels }) }
    this.#living.set(key, updated)
    this.#byId.set(updated.endpoint.id, updated)
    this.#list = undefined
    this.#updated.inc()
    this.#tell((listener) => listener.updated?.(updated.endpoint))
  }

  /** One listener's fault must not keep the others from knowing. */
  #tell(call: (listener: EndpointListener) => void): void {
    for (const listener of [...this.#listeners]) {
      try {
        call(listener)
      } catch (error) {
        this.#logger.error('an endpoint listener failed', { error })
      }
    }
  }
}

/** Entries with one name and address are one server with several ports. */
function serverOf({ namespace, name, address }: EndpointSpec): string {
  return `${namespace}/${name} ${address}`
}

function portsByServer(specs: readonly EndpointSpec[]): ReadonlyMap<string, number> {
  const ports = new Map<string, number>()
  for (const spec of specs) ports.set(serverOf(spec), (ports.get(serverOf(spec)) ?? 0) + 1)
  return ports
}

function isAnother(a: EndpointSpec, b: EndpointSpec): boolean {
  return (
    a.namespace !== b.namespace ||
    a.name !== b.name ||
    a.rank !== b.rank ||
    a.uid !== b.uid ||
    a.metricsPort !== b.metricsPort
  )
}

function sameLabels({ labels: a }: EndpointSpec, { labels: b }: EndpointSpec): boolean {
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key])
}

/** At most ten of them, and how many more. */
export function listText(items: readonly string[]): string {
  const shown = items.slice(0, 10).join(', ')
  return items.length > 10 ? `${shown} and ${items.length - 10} more` : shown
}
