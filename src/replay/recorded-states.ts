import type { Endpoint, EndpointMetrics } from '../framework/endpoint.ts'
import {
  type DecisionLine,
  type DetailsPart,
  SAID_FIELDS,
  STATE,
  STATE_FIELDS,
  type StateField,
} from './format.ts'
import type { RecordedEndpoint } from './recording.ts'

interface Known {
  readonly values: Float64Array
  identity: Omit<Endpoint, 'metrics'>
  details: DetailsPart
  metrics: EndpointMetrics | undefined
  /** Undefined after a change. */
  made: RecordedEndpoint | undefined
}

/** An endpoint as a file tells it. */
export interface ToldEndpoint {
  readonly n: number
  readonly identity: Omit<Endpoint, 'metrics'>
}

/** The endpoints of one pool at the decision that was read last. */
export class RecordedStates {
  readonly #known = new Map<number, Known>()
  #list: readonly number[] = []

  endpoint({ n, identity }: ToldEndpoint): void {
    const known = this.#known.get(n)
    if (known) {
      known.identity = identity
      known.made = undefined
      return
    }
    const values = new Float64Array(STATE_FIELDS.length)
    values[STATE.scrapedAtMs] = Number.NaN
    this.#known.set(n, { values, identity, details: {}, metrics: undefined, made: undefined })
  }

  /** Takes over what a decision says has changed. @throws {RangeError} for an endpoint that was not told */
  change({ e, i, l }: Pick<DecisionLine, 'e' | 'i' | 'l'>): void {
    for (const [n, details] of Object.entries(i ?? {})) {
      const known = this.#of(Number(n))
      known.details = details
      known.metrics = metricsOf(known)
      known.made = undefined
    }
    for (const [n, bits, ...values] of e ?? []) this.#set(n, bits, values)
    if (l === undefined) return
    this.#list = l
    const living = new Set(l)
    for (const n of this.#known.keys()) if (!living.has(n)) this.#known.delete(n)
    for (const n of l) this.#of(n)
  }

  /** All of the pool, in its order. */
  list(): readonly RecordedEndpoint[] {
    return this.#list.map((n) => this.of(n))
  }

  /** @throws {RangeError} when it was not told */
  of(n: number): RecordedEndpoint {
    const known = this.#of(n)
    known.made ??= made(known)
    return known.made
  }

  #set(
    n: number | null | undefined,
    bits: number | null | undefined,
    values: readonly (number | null)[],
  ) {
    const known = this.#of(n ?? -1)
    let at = 0
    for (let field = 0; field < STATE_FIELDS.length; field++) {
      if (((bits ?? 0) & (1 << field)) !== 0) known.values[field] = values[at++] ?? Number.NaN
    }
    if (at !== values.length) {
      throw new RangeError(`endpoint ${n} has ${values.length} values for ${at} changed fields`)
    }
    if (((bits ?? 0) & ((1 << SAID_FIELDS) - 1)) !== 0) known.metrics = metricsOf(known)
    known.made = undefined
  }

  #of(n: number): Known {
    const known = this.#known.get(n)
    if (known) return known
    throw new RangeError(`endpoint ${n} is not told before`)
  }
}

function metricsOf({ values, details }: Known): EndpointMetrics | undefined {
  const value = (field: StateField) => values[STATE[field]]!
  const scrapedAtMs = value('scrapedAtMs')
  if (Number.isNaN(scrapedAtMs)) return undefined
  const queriedTokens = value('queriedTokens')
  const { blockTokens, kvBlocks, hashAlgorithm, adapters, custom } = details
  return Object.freeze({
    ...{ waiting: value('waiting'), running: value('running') },
    ...{ kvCacheUsage: value('kvCacheUsage'), scrapedAtMs },
    ...{ blockTokens, kvBlocks, hashAlgorithm, adapters },
    ...(!Number.isNaN(queriedTokens) && {
      prefixCache: {
        queriedTokens,
        hitTokens: value('hitTokens'),
        finishedRequests: value('finishedRequests'),
      },
    }),
    custom: new Map(
      Object.entries(custom ?? {}).map(([name, each]) => [name, each ?? Number.NaN] as const),
    ),
  })
}

function made({ identity, metrics, values }: Known): RecordedEndpoint {
  const value = (field: StateField) => values[STATE[field]]!
  return {
    endpoint: Object.freeze({ ...identity, metrics }),
    load: {
      requests: value('requests'),
      lastPick: value('lastPick'),
      tokens: value('tokens'),
      queuedTokens: value('queuedTokens'),
      contextTokens: value('contextTokens'),
      pendingKvTokens: value('pendingKvTokens'),
    },
  }
}
