import type { Clock, Counter, Logger, Metrics, Notices, Random } from '../../framework/services.ts'
import type { Answer, KubeClient } from './client.ts'
import { isFault } from './objects/field.ts'
import { type Lease, leaseObject, readLease } from './objects/lease.ts'
import { pause } from './pause.ts'
import type { KubeProblem } from './problem.ts'

export interface LeaderElectionServices {
  readonly client: KubeClient
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
}

export interface LeaderElectionSettings {
  readonly namespace: string
  readonly name: string
  /** Unique among all replicas of all time. */
  readonly identity: string
  /** Time after which a leader that says nothing is replaced; at least 1000. */
  readonly leaseDurationMs: number
}

const NOTICE = 'leader-election'
/** A standby looks at the lease at least this often, so that one that is given up is taken at once. */
const MOST_POLL_MS = 1000
const RELEASED_SECONDS = 1

/**
 * Elects one leader among replicas by a Lease (coordination.k8s.io/v1).
 *
 * The leader renews each third of the duration and steps down when it could not for two thirds of it, before another can
 * take over. A standby takes a lease that has not changed for its duration on the standby's own clock: no two machines'
 * clocks are compared. Source of both rules: client-go's leaderelection.
 */
export class LeaderElection {
  readonly #services: LeaderElectionServices
  readonly #settings: LeaderElectionSettings
  readonly #logger: Logger
  readonly #changes: Counter
  readonly #path: string
  readonly #listeners = new Set<(leading: boolean) => void>()
  readonly #stop = new AbortController()
  #leading = false
  /** Monotonic; leading ends here unless the lease is renewed. */
  #validUntilMs = Number.NEGATIVE_INFINITY
  #expiry: NodeJS.Timeout | undefined
  /** The lease as last seen, and when it was first seen so. */
  #seen: { readonly lease: Lease; readonly sinceMs: number } | undefined
  /** Why the lease cannot be reached at the moment. */
  #problem: string | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(services: LeaderElectionServices, settings: LeaderElectionSettings) {
    this.#services = services
    this.#settings = settings
    this.#logger = services.logger.named('leader')
    this.#path = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(settings.namespace)}/leases`
    this.#changes = services.metrics.counter(
      'epp_leader_changes_total',
      'Times that this replica began or ceased to lead.',
    )
    services.metrics.observed('epp_leader', 'Whether this replica leads: 1 or 0.', () => [
      { labels: {}, value: Number(this.leading) },
    ])
  }

  /** True while this replica holds the lease. */
  get leading(): boolean {
    // The process may have stood still past the time of the timer that steps down.
    return this.#leading && this.#services.clock.nowMs() < this.#validUntilMs
  }

  /** The identity that holds the lease as far as is known; undefined when nobody does. */
  get holder(): string | undefined {
    return this.#seen?.lease.holder || undefined
  }

  /** Calls `changed` after each change of `leading`. Returns a function that ends it. */
  listen(changed: (leading: boolean) => void): () => void {
    this.#listeners.add(changed)
    return () => this.#listeners.delete(changed)
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Steps down and gives the lease up, so that another replica takes it at once. */
  async stop(): Promise<void> {
    if (this.#stop.signal.aborted) return this.#running
    this.#stop.abort()
    await this.#running
    if (this.leading) await this.#release()
    else this.#setLeading(false)
  }

  async #release(): Promise<void> {
    this.#setLeading(false)
    // A renewal that was cut off may have been written: only a fresh look knows the version to replace.
    const problem =
      this.#see(await this.#ask((client, signal) => client.get(this.#leasePath, signal))) ??
      (this.#seen!.lease.holder === this.#settings.identity
        ? (await this.#put({ ...this.#seen!.lease, holder: '' }, RELEASED_SECONDS)).problem
        : undefined)
    if (problem) {
      this.#logger.warn('The lease could not be given up; another replica waits until it expires', {
        problem: problem.text,
      })
    }
  }

  async #run(): Promise<void> {
    const { random } = this.#services
    const { leaseDurationMs } = this.#settings
    while (!this.#stop.signal.aborted) {
      const beganMs = this.#services.clock.nowMs()
      const validUntilMs = this.#validUntilMs
      const problem = this.#leading ? await this.#renew() : await this.#look()
      if (this.#stop.signal.aborted) return
      this.#sayProblem(problem)
      const third = leaseDurationMs / 3
      const poll = Math.min(leaseDurationMs / 6, MOST_POLL_MS) * (0.8 + 0.2 * random.next())
      const spentMs = this.#services.clock.nowMs() - beganMs
      const renewed = this.#leading && this.#validUntilMs > validUntilMs
      const waitMs = renewed ? third - spentMs : poll
      await pause(Math.max(waitMs, 0), this.#stop.signal)
    }
  }

  /** A standby's turn: takes the lease when nobody holds it, or its holder is silent. */
  async #look(): Promise<KubeProblem | undefined> {
    const beganMs = this.#services.clock.nowMs()
    const answer = await this.#ask((client, signal) => client.get(this.#leasePath, signal))
    if (answer.problem?.reason === 'not_found') return this.#create(beganMs)
    const problem = this.#see(answer)
    if (problem) return problem
    const { lease, sinceMs } = this.#seen!
    const { identity } = this.#settings
    const durationMs = lease.durationMs || this.#settings.leaseDurationMs
    const expired = this.#services.clock.nowMs() - sinceMs >= durationMs
    if (lease.holder !== '' && lease.holder !== identity && !expired) return undefined
    return this.#write(beganMs, lease)
  }

  async #renew(): Promise<KubeProblem | undefined> {
    const beganMs = this.#services.clock.nowMs()
    const problem = await this.#write(beganMs, this.#seen!.lease)
    if (problem?.reason === 'not_found') return this.#create(beganMs)
    return problem
  }

  async #create(beganMs: number): Promise<KubeProblem | undefined> {
    const lease: Lease = {
      ...{ resourceVersion: '', holder: '', durationMs: 0, transitions: 0 },
      ...{ acquireTime: '', renewTime: '', raw: undefined },
    }
    const object = this.#objectOf(this.#taken(lease))
    const answer = await this.#ask((client, signal) => client.create(this.#path, object, signal))
    return this.#written(beganMs, answer)
  }

  async #write(beganMs: number, lease: Lease): Promise<KubeProblem | undefined> {
    return this.#written(beganMs, await this.#put(this.#taken(lease)))
  }

  /** Takes the answer to a write: what was written is valid from before it was sent. */
  async #written(beganMs: number, answer: Answer<unknown>): Promise<KubeProblem | undefined> {
    if (answer.problem?.reason === 'conflict') return this.#lost()
    const problem = this.#see(answer)
    if (problem) return problem
    this.#validUntilMs = beganMs + (this.#settings.leaseDurationMs * 2) / 3
    clearTimeout(this.#expiry)
    this.#expiry = setTimeout(
      () => this.#setLeading(false),
      Math.max(0, this.#validUntilMs - this.#services.clock.nowMs()),
    )
    this.#setLeading(true)
    return undefined
  }

  /** Somebody else has written the lease: who holds it? */
  async #lost(): Promise<KubeProblem | undefined> {
    const problem = this.#see(
      await this.#ask((client, signal) => client.get(this.#leasePath, signal)),
    )
    if (!problem && this.#seen!.lease.holder !== this.#settings.identity) this.#setLeading(false)
    return problem
  }

  #see(answer: Answer<unknown>): KubeProblem | undefined {
    if (answer.problem) return answer.problem
    const lease = readLease(answer.value)
    if (isFault(lease)) return { reason: 'malformed', text: lease.fault }
    const last = this.#seen?.lease
    const same =
      last?.resourceVersion === lease.resourceVersion ||
      (last?.holder === lease.holder && last.renewTime === lease.renewTime)
    // Any other writer may touch the object: only its holder makes it younger.
    this.#seen = {
      lease,
      sinceMs: same && this.#seen ? this.#seen.sinceMs : this.#services.clock.nowMs(),
    }
    return undefined
  }

  /** The lease as this replica holds it. */
  #taken(lease: Lease): Lease {
    const { identity } = this.#settings
    if (lease.holder === identity) return lease
    const first = lease.resourceVersion === ''
    return {
      ...lease,
      holder: identity,
      acquireTime: this.#microTime(),
      transitions: lease.transitions + (first ? 0 : 1),
    }
  }

  #put(lease: Lease, durationSeconds?: number): Promise<Answer<unknown>> {
    const object = this.#objectOf(lease, durationSeconds)
    return this.#ask((client, signal) => client.update(this.#leasePath, object, signal))
  }

  #objectOf(lease: Lease, durationSeconds = Math.ceil(this.#settings.leaseDurationMs / 1000)) {
    const { namespace, name } = this.#settings
    return leaseObject(
      { namespace, name },
      { ...lease, durationMs: durationSeconds * 1000, renewTime: this.#microTime() },
    )
  }

  #microTime(): string {
    return new Date(this.#services.clock.epochMs()).toISOString().replace('Z', '000Z')
  }

  /** For people. */
  get #lease(): string {
    return `${this.#settings.namespace}/${this.#settings.name}`
  }

  get #leasePath(): string {
    return `${this.#path}/${encodeURIComponent(this.#settings.name)}`
  }

  /** One request, which may not outlast the lease. */
  async #ask(
    request: (client: KubeClient, signal: AbortSignal) => Promise<Answer<unknown>>,
  ): Promise<Answer<unknown>> {
    const controller = new AbortController()
    const limitMs = Math.ceil(this.#settings.leaseDurationMs / 3)
    const timer = setTimeout(() => controller.abort(), limitMs)
    try {
      return await request(this.#services.client, controller.signal)
    } finally {
      clearTimeout(timer)
    }
  }

  #setLeading(leading: boolean): void {
    if (!leading) {
      clearTimeout(this.#expiry)
      this.#validUntilMs = Number.NEGATIVE_INFINITY
    }
    if (leading === this.#leading) return
    this.#leading = leading
    this.#changes.inc()
    this.#notice()
    this.#logger.info(leading ? 'Leading' : 'Not leading any more', {
      lease: this.#lease,
      identity: this.#settings.identity,
    })
    for (const changed of [...this.#listeners]) changed(leading)
  }

  #sayProblem(problem: KubeProblem | undefined): void {
    const text = problem?.reason === 'stopped' ? 'no answer in time' : problem?.text
    if (text !== undefined && this.#problem === undefined) {
      this.#logger.warn('Cannot reach the lease', { lease: this.#lease, problem: text })
    } else if (text === undefined && this.#problem !== undefined) {
      this.#logger.info('The lease is reached again', { lease: this.#lease })
    }
    this.#problem = text
    this.#notice()
  }

  #notice(): void {
    const state = this.leading ? 'leading until it expires' : 'not leading'
    this.#services.notices.set(
      NOTICE,
      this.#problem && `cannot reach the lease ${this.#lease}: ${this.#problem}; ${state}`,
    )
  }
}
