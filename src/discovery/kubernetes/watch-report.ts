import type { Clock, Logger, Metrics, Notices } from '../../framework/services.ts'
import { type Resource, resourceName } from './objects/resources.ts'
import type { KubeProblem } from './problem.ts'

/** Outcome of one list of a collection. */
export type ListResult = 'ok' | 'failed' | 'gone'

const MOST_NAMED = 5

/** Whom the watches report for. */
export interface ReportHost {
  /** What follows when something cannot be watched at the moment, for people. */
  consequence(): string
  /** A trouble has begun, changed or ended. */
  changed(): void
}

/** What all watches have to say of themselves: metrics, log lines, notices, and one sentence for readiness. */
export class WatchReport {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #metrics: Metrics
  readonly #notices: Notices
  readonly #host: ReportHost
  readonly #logs = new Set<WatchLog>()

  constructor(
    services: {
      readonly clock: Clock
      readonly logger: Logger
      readonly metrics: Metrics
      readonly notices: Notices
    },
    host: ReportHost,
  ) {
    this.#clock = services.clock
    this.#logger = services.logger.named('kubernetes')
    this.#metrics = services.metrics
    this.#notices = services.notices
    this.#host = host
    this.#metrics.observed(
      'epp_kubernetes_watches',
      'Watches of the Kubernetes API by resource and whether they are open.',
      () => this.#states(),
    )
  }

  /** A place for one watch to report to. */
  open(resource: Resource, namespace: string): WatchLog {
    const log: WatchLog = new WatchLog(resource, namespace, {
      clock: this.#clock,
      logger: this.#logger,
      metrics: this.#metrics,
      consequence: () => this.#host.consequence(),
      troubled: () => {
        this.#noticeTrouble(log.resource)
        this.#host.changed()
      },
      faulty: () => this.#noticeFaults(log.resource),
      closed: () => {
        this.#logs.delete(log)
        this.#noticeTrouble(log.resource)
        this.#noticeFaults(log.resource)
        this.#host.changed()
      },
    })
    this.#logs.add(log)
    return log
  }

  /** What is wrong at the moment, for people; undefined when nothing is. */
  trouble(): string | undefined {
    return this.#troubleOf([...this.#logs])
  }

  #troubleOf(logs: readonly WatchLog[]): string | undefined {
    const troubles = logs.flatMap(({ trouble }) => trouble ?? [])
    if (troubles.length === 0) return undefined
    const more = troubles.length > 1 ? ` (and ${troubles.length - 1} more)` : ''
    return `${troubles[0]}${more}; ${this.#host.consequence()}`
  }

  #noticeTrouble(resource: string): void {
    const logs = [...this.#logs].filter((log) => log.resource === resource)
    this.#notices.set(`kubernetes:${resource}`, this.#troubleOf(logs))
  }

  #noticeFaults(resource: string): void {
    const faults = [...this.#logs]
      .filter((log) => log.resource === resource)
      .flatMap((log) => log.faults)
    const named = faults.slice(0, MOST_NAMED).join('; ')
    const more = faults.length > MOST_NAMED ? ` (and ${faults.length - MOST_NAMED} more)` : ''
    this.#notices.set(
      `kubernetes:${resource}:objects`,
      faults.length === 0 ? undefined : `not taken, the last good version stays: ${named}${more}`,
    )
  }

  *#states() {
    const counts = new Map<string, { up: number; down: number }>()
    for (const { resource, state } of this.#logs) {
      const count = counts.get(resource) ?? { up: 0, down: 0 }
      counts.set(resource, count)
      if (state !== 'none') count[state]++
    }
    for (const [resource, { up, down }] of counts) {
      yield { labels: { resource, state: 'up' }, value: up }
      yield { labels: { resource, state: 'down' }, value: down }
    }
  }
}

interface Telling {
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  consequence(): string
  troubled(): void
  faulty(): void
  closed(): void
}

/** The report of one watch. */
export class WatchLog {
  /** As metrics and notices name it. */
  readonly resource: string
  readonly #what: string
  readonly #telling: Telling
  readonly #faults = new Map<string, string>()
  #trouble: { readonly text: string; readonly since: string; readonly sinceMs: number } | undefined
  #state: 'up' | 'down' | 'none' = 'down'

  constructor(resource: Resource, namespace: string, telling: Telling) {
    this.resource = resourceName(resource)
    this.#what = `${this.resource} in ${namespace}`
    this.#telling = telling
  }

  /** `none` while the API is not served. */
  get state(): 'up' | 'down' | 'none' {
    return this.#state
  }

  set state(state: 'up' | 'down' | 'none') {
    this.#state = state
  }

  /** What is wrong and since when; undefined when nothing is. */
  get trouble(): string | undefined {
    const trouble = this.#trouble
    return trouble && `cannot watch ${this.#what}: ${trouble.text} since ${trouble.since}`
  }

  /** Objects that cannot be read, with what is wrong with each. */
  get faults(): readonly string[] {
    return [...this.#faults.values()]
  }

  event(type: string): void {
    this.#telling.metrics
      .counter('epp_kubernetes_events_total', 'Events of Kubernetes watches by type.', {
        resource: this.resource,
        type,
      })
      .inc()
  }

  listed(result: ListResult): void {
    this.#telling.metrics
      .counter('epp_kubernetes_lists_total', 'Lists of Kubernetes collections by result.', {
        resource: this.resource,
        result,
      })
      .inc()
  }

  /** Counts what went wrong. */
  error(reason: string): void {
    this.#telling.metrics
      .counter(
        'epp_kubernetes_errors_total',
        'What went wrong with the Kubernetes API, by reason.',
        {
          resource: this.resource,
          reason,
        },
      )
      .inc()
  }

  /** The collection cannot be followed for now: logged once, until `recovered`. */
  troubled({ text }: KubeProblem): void {
    const { clock, logger } = this.#telling
    const before = this.#trouble
    if (before?.text === text) return
    this.#trouble = {
      text,
      since: before?.since ?? new Date(clock.epochMs()).toISOString().slice(11, 19),
      sinceMs: before?.sinceMs ?? clock.nowMs(),
    }
    if (!before) {
      logger.warn(`Cannot watch ${this.#what}; ${this.#telling.consequence()}`, { problem: text })
    }
    this.#telling.troubled()
  }

  /** The collection is followed again. */
  recovered(): void {
    const { clock, logger } = this.#telling
    if (!this.#trouble) return
    const downMs = Math.round(clock.nowMs() - this.#trouble.sinceMs)
    this.#trouble = undefined
    logger.info(`Watching ${this.#what} again`, { downMs })
    this.#telling.troubled()
  }

  /** Something that came in cannot be used and is left out; said once per kind of it. */
  unusable(text: string): void {
    this.#telling.logger.warnOnce(`${this.#what} ${text}`, `Unusable answer for ${this.#what}`, {
      problem: text,
    })
  }

  /** What is wrong with the object of this name; undefined when it can be read, or is gone. */
  fault(name: string, text: string | undefined): void {
    const full = text && `${this.#what.replace(' in ', ' ')}/${name}: ${text}`
    if (this.#faults.get(name) === full) return
    if (full === undefined) this.#faults.delete(name)
    else {
      this.#faults.set(name, full)
      this.error('object')
      this.#telling.logger.warnOnce(full, 'An object is not taken; its last good version stays', {
        object: full,
      })
    }
    this.#telling.faulty()
  }

  close(): void {
    this.#telling.closed()
  }
}
