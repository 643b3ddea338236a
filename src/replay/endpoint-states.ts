import type { Endpoint, EndpointMetrics } from '../framework/endpoint.ts'
import type { InFlight } from '../framework/services.ts'
import { type DetailsPart, SAID_FIELDS, STATE, STATE_FIELDS } from './format.ts'

interface Told {
  readonly n: number
  /** As it was told last. */
  endpoint: Endpoint | undefined
  /** In the order of `STATE_FIELDS`; NaN where nothing was said. */
  readonly values: Float64Array
  details: string
}

/** What is to be told of the endpoints before a decision can be read. */
export interface StateChanges {
  /** Lines of endpoints that are new, or have other labels. */
  readonly lines: readonly string[]
  /** The whole pool, where it is another than before. */
  readonly list: readonly number[] | undefined
  readonly values: readonly (readonly (number | null)[])[]
  readonly details: Readonly<Record<string, DetailsPart>> | undefined
}

/** Tells the endpoints of one pool once, and then what has changed of them. */
export class EndpointStates {
  readonly #pool: number
  readonly #told = new Map<string, Told>()
  readonly #now = new Float64Array(STATE_FIELDS.length)
  #list: readonly string[] = []
  #numbers = 0

  /** @param pool its number in the file */
  constructor(pool: number) {
    this.#pool = pool
  }

  /** The number of an endpoint that has been told. */
  numberOf({ id }: Endpoint): number {
    return this.#told.get(id)!.n
  }

  changes(endpoints: readonly Endpoint[], inFlight: InFlight): StateChanges {
    const lines: string[] = []
    const values: (readonly (number | null)[])[] = []
    let details: Record<string, DetailsPart> | undefined
    for (const endpoint of endpoints) {
      let told = this.#told.get(endpoint.id)
      if (told === undefined) {
        const fresh = new Float64Array(STATE_FIELDS.length)
        told = { n: this.#numbers++, endpoint: undefined, values: fresh, details: '{}' }
        fresh[STATE.scrapedAtMs] = Number.NaN
        this.#told.set(endpoint.id, told)
      }
      if (told.endpoint?.labels !== endpoint.labels) {
        lines.push(lineOf(this.#pool, told.n, endpoint))
      }
      const changed = this.#changed(told, endpoint, inFlight)
      if (changed) values.push(changed)
      if (told.endpoint?.metrics !== endpoint.metrics) {
        const said = detailsOf(endpoint.metrics)
        const text = JSON.stringify(said)
        if (text !== told.details) {
          details ??= {}
          details[told.n] = said
          told.details = text
        }
      }
      told.endpoint = endpoint
    }
    return { lines, values, details, list: this.#listed(endpoints) }
  }

  /** The whole list, where endpoints came, went or changed places; those that are gone are forgotten. */
  #listed(endpoints: readonly Endpoint[]): readonly number[] | undefined {
    const before = this.#list
    const isSame =
      before.length === endpoints.length && endpoints.every(({ id }, i) => id === before[i])
    if (isSame) return undefined
    this.#list = endpoints.map(({ id }) => id)
    const living = new Set(this.#list)
    for (const id of this.#told.keys()) if (!living.has(id)) this.#told.delete(id)
    return endpoints.map((endpoint) => this.numberOf(endpoint))
  }

  /** Number, bits of what has changed, and the values. */
  #changed(
    told: Told,
    endpoint: Endpoint,
    inFlight: InFlight,
  ): readonly (number | null)[] | undefined {
    const now = this.#now
    const isSaid = told.endpoint === undefined || told.endpoint.metrics !== endpoint.metrics
    if (isSaid) readMetrics(endpoint.metrics, now)
    now[STATE.requests] = inFlight.requests(endpoint)
    now[STATE.lastPick] = inFlight.lastPick(endpoint)
    now[STATE.tokens] = inFlight.tokens(endpoint)
    now[STATE.queuedTokens] = inFlight.queuedTokens(endpoint)
    now[STATE.contextTokens] = inFlight.contextTokens(endpoint)
    now[STATE.pendingKvTokens] = inFlight.pendingKvTokens(endpoint)
    let bits = 0
    let changed: (number | null)[] | undefined
    for (let i = isSaid ? 0 : SAID_FIELDS; i < now.length; i++) {
      const value = now[i]!
      if (Object.is(value, told.values[i])) continue
      told.values[i] = value
      bits |= 1 << i
      changed ??= [told.n, 0]
      changed.push(Number.isNaN(value) ? null : value)
    }
    if (changed) changed[1] = bits
    return changed
  }
}

function readMetrics(metrics: EndpointMetrics | undefined, into: Float64Array): void {
  into.fill(0, 0, SAID_FIELDS)
  into[STATE.scrapedAtMs] = metrics?.scrapedAtMs ?? Number.NaN
  into[STATE.queriedTokens] = metrics?.prefixCache?.queriedTokens ?? Number.NaN
  if (metrics === undefined) return
  into[STATE.waiting] = metrics.waiting
  into[STATE.running] = metrics.running
  into[STATE.kvCacheUsage] = metrics.kvCacheUsage
  into[STATE.hitTokens] = metrics.prefixCache?.hitTokens ?? 0
  into[STATE.finishedRequests] = metrics.prefixCache?.finishedRequests ?? 0
}

function detailsOf(metrics: EndpointMetrics | undefined): DetailsPart {
  if (metrics === undefined) return {}
  const { blockTokens, kvBlocks, hashAlgorithm, adapters, custom } = metrics
  return {
    ...(blockTokens !== undefined && { blockTokens }),
    ...(kvBlocks !== undefined && { kvBlocks }),
    ...(hashAlgorithm !== undefined && { hashAlgorithm }),
    ...(adapters !== undefined && {
      adapters: { ...adapters, running: [...adapters.running], waiting: [...adapters.waiting] },
    }),
    ...(custom.size > 0 && { custom: Object.fromEntries(custom) }),
  }
}

function lineOf(p: number, n: number, endpoint: Endpoint): string {
  const { id, slot, namespace, name, address, port, hostPort, rank, labels } = endpoint
  return JSON.stringify({
    ...{ k: 'e', p, n, id, slot, namespace, name, address, port, hostPort, rank },
    labels: Object.fromEntries(labels),
  })
}
