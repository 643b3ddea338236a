import { PROMPT_TOKENS } from '../framework/attributes.ts'
import type { Generation } from '../framework/build.ts'
import type { Container } from '../framework/container.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { Decision, ProfileTrace } from '../framework/routing/decision.ts'
import { decisionOf } from '../framework/routing/describe-pick.ts'
import type { Configured } from '../framework/routing/profile.ts'
import { type ProfileRuns, runProfiles } from '../framework/routing/scheduler.ts'
import { recordedRequest } from './recorded-request.ts'
import { RecordedServices } from './recorded-services.ts'
import type { RecordedDecision, RecordedOutcome } from './recording.ts'

/** What a configuration picks for a recorded decision. */
export interface ReplayedPick {
  /** `host:port`; undefined when it picks nobody. */
  readonly target: Endpoint | undefined
  /** Of the profile that counts; undefined when it picks nobody. */
  readonly trace: ProfileTrace | undefined
  /** Why it picks nobody. */
  readonly error: string | undefined
}

/** Requests whose end is still to come. */
const MAX_OPEN = 100_000

/**
 * One configuration put to work on the decisions of one pool, in their order.
 *
 * Open-loop: its plugins see the state as it was recorded, and are told of the picks that were recorded, not of its own.
 */
export class ReplayRun {
  readonly services = new RecordedServices()
  readonly generation: Generation
  readonly #open = new Map<
    number,
    { readonly request: InferenceRequest; readonly target: Endpoint }
  >()

  /** @param build a configuration with these services; @throws what it throws */
  constructor(build: (services: Container) => Generation) {
    this.generation = build(this.services.container)
    this.#tell((plugin) => plugin.activated?.())
  }

  pick(decision: RecordedDecision): ReplayedPick {
    const { services, generation } = this
    services.show(decision)
    const request = recordedRequest(decision, services.lacks)
    this.#noteMissingData(decision)
    services.random.restart(decision.seed)
    const candidates = decision.candidates.map(({ endpoint }) => endpoint)
    let runs: ProfileRuns | undefined
    let error: string | undefined
    try {
      runs = runProfiles(generation, request, candidates, decision.nowMs)
    } catch (cause) {
      error = cause instanceof Error ? cause.message : String(cause)
    }
    this.#learn(decision, request, runs)
    return { target: runs?.primary.picked[0], trace: runs?.primary.trace, error }
  }

  ended({ number, end, status, usage, firstByteMs, durationMs }: RecordedOutcome): void {
    const open = this.#open.get(number)
    if (open === undefined) return
    this.#open.delete(number)
    const { request, target } = open
    if (firstByteMs !== undefined) this.#tell((plugin) => plugin.responded?.(request, target))
    const reason = end as Outcome['reason']
    const outcome = { ...{ reason, status, usage, firstByteMs, durationMs }, responseBytes: 0 }
    this.#tell((plugin) => plugin.ended?.(request, target, outcome))
  }

  async close(): Promise<void> {
    await this.generation[Symbol.asyncDispose]()
  }

  /** Data that producers make before the pick, and that the record has not. */
  #noteMissingData({ request }: RecordedDecision): void {
    if (request.prompt !== 1) return
    for (const { key } of this.generation.producers) {
      if (key === PROMPT_TOKENS && request.tokens !== undefined) continue
      const what = key === PROMPT_TOKENS ? 'token counts' : `the data ${key.name}`
      this.services.lacks.ask(what, { data: key.name })
    }
  }

  /** Plugins with a memory of their own are told what was picked when it was recorded. */
  #learn(
    decision: RecordedDecision,
    request: InferenceRequest,
    runs: ProfileRuns | undefined,
  ): void {
    const target = decision.picked[0]
    if (target === undefined || runs === undefined) return
    const made = madeDecision(decision, request, runs)
    this.#tell((plugin) => plugin.picked?.(request, target, made))
    for (const oldest of this.#open.keys()) {
      if (this.#open.size < MAX_OPEN) break
      this.#open.delete(oldest)
    }
    this.#open.set(decision.number, { request, target })
  }

  #tell(call: (plugin: Observer) => void): void {
    for (const { plugin, probe } of this.generation.observers as Configured<Observer>[]) {
      probe.notify(() => call(plugin))
    }
  }
}

/** The decision that was recorded, as far as plugins may look at it. */
function madeDecision(
  { picked, atMs, configuration, endpoints, candidates }: RecordedDecision,
  request: InferenceRequest,
  runs: ProfileRuns,
): Decision {
  const destinations = picked.map(({ hostPort }) => hostPort)
  const { trace } = runs.primary
  const primary = {
    ...runs.primary,
    ...{ picked, trace: { ...trace, picked: destinations } },
  }
  return decisionOf({
    ...{ atMs, pool: configuration.pool, generation: configuration.generation },
    read: { request, rule: undefined, bodySalt: undefined, isCut: false },
    runs: { primary, traces: runs.traces.map((each) => (each === trace ? primary.trace : each)) },
    ...{ poolSize: endpoints.length, candidates: candidates.length, destinations },
    ...{ remark: undefined, phasesUs: {} },
  })
}
