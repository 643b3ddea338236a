import type { CheckedConfig } from '../config/parse.ts'
import { SchedulerError } from '../framework/errors.ts'
import { ROUTED_PREFIX_INDEX } from '../framework/services.ts'
import type { Inject } from '../framework/token.ts'
import { Comparison, type ComparisonResult } from '../replay/comparison.ts'
import type { Lack } from '../replay/lacks.ts'
import type { ReadProgress } from '../replay/read-lines.ts'
import { readRecording } from '../replay/read-recording.ts'
import type { RecordedConfiguration, RecordedDecision } from '../replay/recording.ts'
import { type ReplayedPick, ReplayRun } from '../replay/replay-run.ts'
import { messageOf } from './pool.ts'
import { generationOf } from './settings.ts'

/** A checked configuration, and how people call it. */
export interface NamedConfig {
  readonly name: string
  readonly config: CheckedConfig
}

export interface ReplayInput {
  /** Files of one recording, the oldest first. */
  readonly files: readonly string[]
  readonly next: NamedConfig
  /** What it is held against; the recorded picks when absent. */
  readonly against?: NamedConfig
  /** Checks the text of a configuration. @throws {SchedulerError} CONFIG_INVALID */
  load(text: string, source: string): Promise<CheckedConfig>
  /** Called now and then. */
  progress(bytes: number, totalBytes: number, decisions: number): void
}

export interface ReplayReport extends ComparisonResult {
  readonly config: string
  /** What it was held against. */
  readonly against: string
  readonly files: readonly string[]
  /** Always true: the recorded states do not change with other picks. */
  readonly openLoop: true
  /** Epoch milliseconds of the first and the last decision. */
  readonly fromMs: number
  readonly toMs: number
  /** Whether the configurations that decided pick again what they picked. */
  readonly reproduced: {
    readonly decisions: number
    readonly same: number
    /** Why some could not be tried. */
    readonly problems: readonly string[]
  }
  /** What a configuration asks for and the recording does not have. */
  readonly lacks: readonly string[]
  /** What plugins did wrong, or said. */
  readonly warnings: readonly string[]
  /** Files that break off, and where. */
  readonly cut: readonly string[]
}

/** What nobody has set otherwise. */
const ROUTED_DEFAULTS = JSON.stringify({ maxPrefixTokens: 131_072, blocksPerEndpoint: 31_250 })
/** Decisions between two calls of `progress`, and two turns of the event loop. */
const PROGRESS_DECISIONS = 500

/**
 * Runs a configuration over recorded decisions, open-loop, beside another one or beside what was picked.
 *
 * @throws {SchedulerError} as `readRecording`; CONFIG_INVALID for a configuration that cannot be built; BAD_REQUEST for files
 *   without any decision
 */
export async function replay(input: ReplayInput): Promise<ReplayReport> {
  const { next, against, files } = input
  const comparison = new Comparison()
  const runs = {
    next: new PoolRuns(() => next.config),
    against: against && new PoolRuns(() => against.config),
  }
  const recorded = new RecordedRuns(input)
  const cut: string[] = []
  let fromMs = Number.POSITIVE_INFINITY
  let toMs = Number.NEGATIVE_INFINITY
  let decisions = 0
  const read: ReadProgress[] = []
  try {
    for (const file of files) {
      const progress: ReadProgress = { bytes: 0, totalBytes: 0, cut: undefined }
      read.push(progress)
      for await (const { decision, outcome } of readRecording(file, progress)) {
        if (outcome) {
          for (const each of [runs.next, runs.against, recorded]) each?.ended(outcome)
          comparison.ended(outcome)
          continue
        }
        fromMs = Math.min(fromMs, decision.atMs)
        toMs = Math.max(toMs, decision.atMs)
        const made = await recorded.pick(decision)
        const before = runs.against ? runs.against.pick(decision) : made
        comparison.add(decision, before, runs.next.pick(decision))
        if (++decisions % PROGRESS_DECISIONS === 0) {
          input.progress(sum(read, 'bytes'), sum(read, 'totalBytes'), decisions)
          await new Promise((resolve) => setImmediate(resolve))
        }
      }
      if (progress.cut !== undefined) cut.push(`${file}: ${progress.cut}`)
    }
    input.progress(sum(read, 'bytes'), sum(read, 'totalBytes'), decisions)
    if (decisions === 0) {
      throw new SchedulerError(
        'BAD_REQUEST',
        `no decision in ${files.join(', ')}; record while requests come in`,
      )
    }
    return {
      config: next.name,
      against: against?.name ?? 'the recorded picks',
      ...{ files, openLoop: true, fromMs, toMs },
      ...comparison.result(),
      reproduced: recorded.reproduced,
      lacks: [
        ...lacksOf(next, runs.next, recorded),
        ...(against && runs.against ? lacksOf(against, runs.against, recorded) : []),
      ],
      warnings: [
        ...warningsOf(next.name, runs.next),
        ...(against && runs.against ? warningsOf(against.name, runs.against) : []),
      ],
      cut,
    }
  } finally {
    await Promise.all([runs.next.close(), runs.against?.close(), recorded.close()])
  }
}

function sum(parts: readonly ReadProgress[], key: 'bytes' | 'totalBytes'): number {
  return parts.reduce((total, part) => total + part[key], 0)
}

/** A configuration put to work for each pool of a recording. */
class PoolRuns {
  readonly #config: () => CheckedConfig
  readonly #runs = new Map<string | undefined, ReplayRun>()

  constructor(config: () => CheckedConfig) {
    this.#config = config
  }

  get list(): readonly ReplayRun[] {
    return [...this.#runs.values()]
  }

  pick(decision: RecordedDecision): ReplayedPick {
    const { pool } = decision.configuration
    let run = this.#runs.get(pool)
    if (run === undefined) {
      run = new ReplayRun((services) => generationOf(1, this.#config(), services))
      this.#runs.set(pool, run)
    }
    return run.pick(decision)
  }

  ended(outcome: Parameters<ReplayRun['ended']>[0]): void {
    for (const run of this.#runs.values()) run.ended(outcome)
  }

  async close(): Promise<void> {
    for (const run of this.#runs.values()) await run.close()
  }
}

/** The configurations that made the recorded picks, as long as they can be put to work again. */
class RecordedRuns {
  readonly #load: ReplayInput['load']
  readonly #runs = new Map<
    string | undefined,
    { readonly configuration: RecordedConfiguration; readonly run: ReplayRun | undefined }
  >()
  readonly #problems = new Set<string>()
  /** What the services were set to, by service. */
  readonly settings = new Map([[ROUTED_PREFIX_INDEX.name, ROUTED_DEFAULTS]])
  #tried = 0
  #same = 0

  constructor({ load }: ReplayInput) {
    this.#load = load
  }

  get reproduced(): ReplayReport['reproduced'] {
    return { decisions: this.#tried, same: this.#same, problems: [...this.#problems] }
  }

  /** What was picked, and why where that can be found out again. */
  async pick(decision: RecordedDecision): Promise<ReplayedPick> {
    const target = decision.picked[0]
    const made = { target, trace: undefined, error: decision.error }
    const run = await this.#runOf(decision.configuration)
    if (run === undefined) return made
    const again = run.pick(decision)
    this.#tried++
    if (again.target?.id !== target?.id) return made
    this.#same++
    return again
  }

  ended(outcome: Parameters<ReplayRun['ended']>[0]): void {
    for (const { run } of this.#runs.values()) run?.ended(outcome)
  }

  async close(): Promise<void> {
    for (const { run } of this.#runs.values()) await run?.close()
  }

  async #runOf(configuration: RecordedConfiguration): Promise<ReplayRun | undefined> {
    const known = this.#runs.get(configuration.pool)
    if (known && isSame(known.configuration, configuration)) return known.run
    await known?.run?.close()
    let run: ReplayRun | undefined
    try {
      const config = await this.#load(configuration.text, configuration.source)
      run = new ReplayRun((services) => generationOf(configuration.generation, config, services))
      for (const [service, text] of run.services.settings) this.settings.set(service, text)
    } catch (error) {
      this.#problems.add(
        `generation ${configuration.generation} (${configuration.source}) cannot be put to work here: ${messageOf(error)}`,
      )
    }
    this.#runs.set(configuration.pool, { configuration, run })
    return run
  }
}

function isSame(a: RecordedConfiguration, b: RecordedConfiguration): boolean {
  return a.generation === b.generation && a.text === b.text
}

/** What the plugins of a configuration ask for and the recording does not have, in words. */
function lacksOf({ name, config }: NamedConfig, runs: PoolRuns, recorded: RecordedRuns): string[] {
  const texts = runs.list
    .flatMap(({ services }) => services.lacks.list())
    .map((lack) => {
      const times = lack.times === 1 ? 'once' : `${lack.times} times`
      return `${name}: ${askers(config, lack)} for ${lack.what}, which the recording does not have (${times})`
    })
  const settings = runs.list.flatMap(({ services }) => [...services.settings])
  for (const [service, text] of settings) {
    const before = recorded.settings.get(service)
    if (before === text) continue
    texts.push(
      before === undefined
        ? `${name}: sets ${service} to ${text}; what it answers was recorded under its defaults`
        : `${name}: sets ${service} to ${text}; what it answers was recorded under ${before}`,
    )
  }
  return [...new Set(texts)]
}

/** The plugins that may have asked. */
function askers({ spec }: CheckedConfig, { service, header, data }: Readonly<Lack>): string {
  const names = spec.plugins
    .filter(({ plugin, params }) => {
      if (service !== undefined) {
        return Object.values(plugin.inject as Inject).some((token) => token.name === service)
      }
      if (data !== undefined) return plugin.needs.some((key) => key.name === data)
      if (header === undefined) return false
      const { reads } = plugin
      const read = typeof reads === 'function' ? reads(params) : reads
      return read?.headers.some((each) => each.toLowerCase() === header)
    })
    .map((each) => `"${each.name}"`)
  return names.length === 0
    ? 'a plugin asks'
    : `${names.join(', ')} ${names.length === 1 ? 'asks' : 'ask'}`
}

function warningsOf(name: string, runs: PoolRuns): readonly string[] {
  return runs.list.flatMap(({ services: { faults, messages } }) => [
    ...Array.from(faults, ([what, times]) => `${name}: ${what} ${times} times`),
    ...Array.from(messages, (message) => `${name}: ${message}`),
  ])
}
