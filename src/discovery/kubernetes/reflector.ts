import type { Clock, Random } from '../../framework/services.ts'
import type { Answer, KubeClient, Page } from './client.ts'
import { type Arrival, HeldObjects } from './held-objects.ts'
import type { Fault } from './objects/field.ts'
import { collectionPath, type Resource, versionPath } from './objects/resources.ts'
import { pause } from './pause.ts'
import type { KubeProblem, ProblemReason } from './problem.ts'
import type { ReflectorTimes } from './reflector-times.ts'
import { readWatchEvent } from './watch-event.ts'
import type { WatchLog } from './watch-report.ts'

export interface ReflectorServices {
  readonly client: KubeClient
  readonly clock: Clock
  readonly random: Random
  readonly times: ReflectorTimes
}

/** What one reflector follows. */
export interface Collection<T> {
  readonly resource: Resource
  readonly namespace: string
  readonly labelSelector?: string
  readonly read: (object: unknown) => T | Fault
  /** Called in the step in which something came in: objects changed, or became known. */
  readonly changed: () => void
}

/** `starting` until the first list, or until the API is known not to be served. */
export type ReflectorState = 'starting' | 'synced' | 'unserved'

const PAGE = 500
const MOST_OBJECTS = 100_000
const MOST_RELISTS = 3

/** Problems after which a watch goes on from where it was; after any other the list is read again. */
const RESUMABLE: readonly ProblemReason[] = [
  'connect',
  'certificate',
  'credentials',
  'unauthorized',
  'forbidden',
  'throttled',
  'server',
]

/**
 * Follows one collection for ever: a list in pages, then watches one after the other from where the last one ended.
 *
 * What is known stays known while the server cannot be reached. Every status is retried, since a server that has just
 * started answers 403 and 429 before it answers well. Source of the rules: Kubernetes API concepts, "efficient detection of
 * changes"; client-go's reflector.
 */
export class Reflector<T> {
  readonly objects: HeldObjects<T>
  readonly #services: ReflectorServices
  readonly #collection: Collection<T>
  readonly #log: WatchLog
  readonly #path: string
  readonly #stop = new AbortController()
  #state: ReflectorState = 'starting'
  #troubled = false
  /** Where the next watch begins; empty when a list is needed. */
  #resourceVersion = ''
  #page = PAGE
  /** The last watch ended with 410, and nothing has come since. */
  #listedForGone = false
  #missingSinceMs: number | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(services: ReflectorServices, collection: Collection<T>, log: WatchLog) {
    this.#services = services
    this.#collection = collection
    this.#log = log
    this.#path = collectionPath(collection.resource, collection.namespace)
    this.objects = new HeldObjects(collection.read, log)
  }

  get state(): ReflectorState {
    return this.#state
  }

  /** True when it is known what there is, or at least that it cannot be known for now. */
  get answered(): boolean {
    return this.#state !== 'starting' || this.#troubled
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Ends every request; nothing is told afterwards. */
  async stop(): Promise<void> {
    this.#stop.abort()
    this.#log.close()
    await this.#running
  }

  get #stopped(): boolean {
    return this.#stop.signal.aborted
  }

  async #run(): Promise<void> {
    let fails = 0
    let isAway = false
    while (!this.#stopped) {
      let problem = this.#resourceVersion === '' ? await this.#list() : undefined
      if (problem === undefined) ({ fails, problem } = await this.#watch(fails))
      else if (await this.#isUnserved(problem)) {
        await pause(this.#unservedPauseMs(), this.#stop.signal)
        continue
      } else {
        this.#failed(problem)
        fails++
      }
      // A server that answers again, though with a refusal, is soon ready: the waits begin anew.
      if (isAway && !isAwayBy(problem)) fails = Math.min(fails, 1)
      isAway = isAwayBy(problem)
      if (fails > 0) await pause(this.#backoffMs(fails, problem), this.#stop.signal)
    }
  }

  /** @returns why there is no list; undefined when there is one */
  async #list(): Promise<KubeProblem | undefined> {
    for (let attempt = 1; ; attempt++) {
      const problem = await this.#listPages()
      if (problem === undefined) return undefined
      if (problem.reason === 'too_large' && this.#page > 1) this.#page = Math.ceil(this.#page / 2)
      else if (problem.reason !== 'gone' || attempt >= MOST_RELISTS) return problem
      if (this.#stopped) return problem
    }
  }

  async #listPages(): Promise<KubeProblem | undefined> {
    const arrivals: Arrival<T>[] = []
    let continueToken = ''
    let resourceVersion = ''
    do {
      const { value: page, problem } = await this.#ask(this.#page, continueToken)
      if (problem) {
        if (problem.reason !== 'stopped') {
          this.#log.listed(problem.reason === 'gone' ? 'gone' : 'failed')
        }
        return problem
      }
      for (const item of page.items) {
        const arrival = this.objects.arrival(item)
        if (arrival) arrivals.push(arrival)
        else this.#unusable('an object in a list has no name or uid')
      }
      if (arrivals.length > MOST_OBJECTS) {
        this.#log.listed('failed')
        const text = `there are more than ${MOST_OBJECTS} objects; use a narrower selector`
        return { reason: 'refused', text }
      }
      ;({ continueToken, resourceVersion } = page)
    } while (continueToken !== '')
    if (this.#stopped) return { reason: 'stopped', text: 'stopped' }
    this.#log.listed('ok')
    this.#missingSinceMs = undefined
    this.#resourceVersion = resourceVersion
    this.#apply('synced', arrivals)
    return undefined
  }

  #ask(limit: number, continueToken: string): Promise<Answer<Page>> {
    return this.#services.client.list(
      this.#path,
      {
        ...this.#selector(),
        limit: String(limit),
        ...(continueToken !== '' && { continue: continueToken }),
      },
      this.#stop.signal,
    )
  }

  #apply(state: ReflectorState, arrivals: readonly Arrival<T>[]): void {
    const { version } = this.objects
    const before = this.#state
    this.objects.replace(arrivals)
    this.#state = state
    if (state !== before || this.objects.version !== version) this.#collection.changed()
  }

  /** One watch until its end. @returns the failures in a row, 0 when the next attempt may begin at once */
  async #watch(fails: number): Promise<{ fails: number; problem: KubeProblem | undefined }> {
    const { client, clock, random, times } = this.#services
    const { minWatchSeconds, maxWatchSeconds } = times
    const seconds = Math.round(
      minWatchSeconds + random.next() * (maxWatchSeconds - minWatchSeconds),
    )
    const beganMs = clock.nowMs()
    let opened = false
    let events = 0
    let settle: NodeJS.Timeout | undefined
    const problem = await client.watch(
      this.#path,
      {
        ...this.#selector(),
        resourceVersion: this.#resourceVersion,
        allowWatchBookmarks: 'true',
        timeoutSeconds: String(seconds),
      },
      seconds * 1000 + times.idleMarginMs,
      {
        opened: () => {
          opened = true
          this.#log.state = 'up'
          settle = setTimeout(() => this.#recovered(), times.settleMs)
        },
        lines: (lines) => {
          if (this.#stopped) return undefined
          const { version } = this.objects
          let wrong: KubeProblem | undefined
          for (const line of lines) {
            wrong = this.#take(line)
            if (wrong) break
            events++
          }
          if (this.objects.version !== version) this.#collection.changed()
          return wrong
        },
      },
      this.#stop.signal,
    )
    clearTimeout(settle)
    if (this.#stopped) return { fails: 0, problem }
    this.#log.state = 'down'
    const lastedMs = clock.nowMs() - beganMs
    const settled = opened && lastedMs >= times.settleMs
    const alive = settled || events > 0
    if (alive) {
      this.#listedForGone = false
      this.#recovered()
    }
    if (problem === undefined) {
      if (settled && events === 0) await this.#checkVersion()
      return { fails: settled ? 0 : events > 0 ? 1 : fails + 1, problem }
    }
    if (problem.reason === 'gone') {
      this.#log.event('gone')
      this.#resourceVersion = ''
      // The server answers: no reason to wait, unless a list has just been tried for the same reason.
      const again = this.#listedForGone && !alive
      this.#listedForGone = true
      return { fails: again ? fails + 1 : 0, problem }
    }
    // A watch that breaks off is no trouble yet: the next attempt shows.
    if (alive) this.#log.error(problem.reason)
    else this.#failed(problem)
    if (!RESUMABLE.includes(problem.reason)) this.#resourceVersion = ''
    if (problem.reason === 'malformed' || problem.reason === 'too_large') {
      this.#log.unusable(problem.text)
    }
    return { fails: alive ? 1 : fails + 1, problem }
  }

  /** Takes one event of a watch. @returns what ends the watch */
  #take(line: string): KubeProblem | undefined {
    const event = readWatchEvent(line)
    if ('reason' in event) return event
    const { type, object, resourceVersion } = event
    const arrival = type === 'BOOKMARK' ? undefined : this.objects.arrival(object)
    if (type !== 'BOOKMARK' && !arrival) {
      return { reason: 'malformed', text: 'the object of an event has no name or uid' }
    }
    this.#log.event(type.toLowerCase())
    if (arrival && type === 'DELETED') this.objects.remove(arrival.name)
    else if (arrival) this.objects.put(arrival)
    this.#resourceVersion = resourceVersion
    return undefined
  }

  /**
   * After a watch without any sign of life: a server whose store was set back to an older state accepts a watch from a
   * version that it has not reached, and stays silent.
   */
  async #checkVersion(): Promise<void> {
    const { value: page } = await this.#ask(1, '')
    const [theirs, ours] = [page?.resourceVersion ?? '', this.#resourceVersion]
    if (/^\d+$/.test(theirs) && /^\d+$/.test(ours) && BigInt(theirs) < BigInt(ours)) {
      this.#resourceVersion = ''
    }
  }

  /** True when the API of an optional resource is not there. */
  async #isUnserved(problem: KubeProblem): Promise<boolean> {
    const { resource } = this.#collection
    if (resource.group === '') return false
    if (problem.reason === 'not_found') return true
    // Whoever lacks the right is told so before it is looked whether there is anything.
    if (problem.reason !== 'forbidden') return false
    const { client } = this.#services
    const answer = await client.get(versionPath(resource), this.#stop.signal)
    if (answer.problem) return answer.problem.reason === 'not_found'
    const { resources } = (answer.value ?? {}) as { resources?: unknown }
    return (
      Array.isArray(resources) &&
      !resources.some((each: { name?: unknown } | null) => each?.name === resource.plural)
    )
  }

  /** Takes note that the API is not served. @returns the time until the next look, in milliseconds */
  #unservedPauseMs(): number {
    if (this.#stopped) return 0
    const { clock, random, times } = this.#services
    const nowMs = clock.nowMs()
    this.#missingSinceMs ??= nowMs
    const missingMs = nowMs - this.#missingSinceMs
    // A server that starts does not serve everything at once; what it will serve must not be lost meanwhile.
    if (this.#state === 'synced' && missingMs < times.unservedGraceMs) {
      this.#log.state = 'down'
      return Math.min(times.maxBackoffMs, times.unservedGraceMs - missingMs)
    }
    this.#log.state = 'none'
    this.#recovered()
    if (this.#state !== 'unserved') this.#apply('unserved', [])
    return times.unservedPollMs * (0.8 + 0.2 * random.next())
  }

  #failed(problem: KubeProblem): void {
    if (problem.reason === 'stopped') return
    this.#log.error(problem.reason)
    this.#log.state = 'down'
    this.#log.troubled(problem)
    if (this.#troubled) return
    this.#troubled = true
    if (this.#state === 'starting') this.#collection.changed()
  }

  #recovered(): void {
    this.#troubled = false
    this.#log.recovered()
  }

  #unusable(text: string): void {
    this.#log.error('malformed')
    this.#log.unusable(text)
  }

  #backoffMs(fails: number, problem: KubeProblem | undefined): number {
    const { random, times } = this.#services
    const asked = Math.min(times.maxRetryAfterMs, problem?.retryAfterMs ?? 0)
    const own = Math.min(times.maxBackoffMs, times.backoffMs * 2 ** Math.min(fails - 1, 10))
    return Math.max(asked, own * (0.5 + 0.5 * random.next()))
  }

  #selector(): Readonly<Record<string, string>> {
    const { labelSelector } = this.#collection
    return labelSelector === undefined ? {} : { labelSelector }
  }
}

function isAwayBy(problem: KubeProblem | undefined): boolean {
  return problem?.reason === 'connect' || problem?.reason === 'silent'
}
