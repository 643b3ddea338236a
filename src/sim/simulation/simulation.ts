import { Draw } from './draw.ts'
import type { EngineModel } from './engine-model.ts'
import type { Measures } from './measures.ts'
import type { EngineMessage, RoutedRequest, SimulatedPicker, SimulationParts } from './picker.ts'
import { RunRecord, type SentRequest } from './run-record.ts'
import { SimulatedEngine } from './simulated-engine.ts'
import { VirtualTime } from './virtual-time.ts'
import type { Load, SimulatedRequest, Workload } from './workload.ts'

/** One run. */
export interface SimulationOptions {
  readonly workload: Workload
  readonly seed: number
  /** One per engine. */
  readonly engines: readonly EngineModel[]
  /** From an engine's step to the picker that hears of its blocks. */
  readonly eventDelayMs: number
  readonly scrapeIntervalMs: number
  /** From what a metrics page says to the picker that knows it. */
  readonly scrapeDelayMs: number
  /** Pickers that share the requests at random and know nothing of each other. */
  readonly pickers: number
  /** How often one picker after the other is replaced by a new one; undefined for never. */
  readonly pickerRestartMs: number | undefined
  /** How often one engine after the other is; undefined for never. */
  readonly engineRestartMs: number | undefined
  /** Whether a new picker may ask the engines for the messages that it missed. */
  readonly replay: boolean
}

/** Something that must not happen in simulated time, such as a plugin that waits for the network. */
export class SimulationError extends Error {
  override readonly name = 'SimulationError'
}

/** A run goes on this long after its horizon, for the answers that are due. */
const DRAIN_MS = 240_000
const SAMPLE_MS = 200

const SPLIT = 900_000_001
const PHASES = 900_000_002
const PICKERS = 900_000_003

/**
 * Runs a workload against engines and pickers, event by event, and measures what comes of it. Equal options give equal
 * measures.
 *
 * @throws {SimulationError} when a request is not routed in its own moment
 */
export function simulate(options: SimulationOptions, parts: SimulationParts): Promise<Measures> {
  return new Simulation(options, parts).run()
}

class Simulation implements Load {
  readonly #options: SimulationOptions
  readonly #parts: SimulationParts
  readonly #time = new VirtualTime()
  readonly #engines: readonly SimulatedEngine[]
  readonly #pickers: SimulatedPicker[] = []
  readonly #record: RunRecord
  readonly #split: Draw
  readonly #underWay: Set<Underway>[]
  #pickersMade = 0
  #unrouted = 0
  #sent = 0

  constructor(options: SimulationOptions, parts: SimulationParts) {
    this.#options = options
    this.#parts = parts
    this.#split = Draw.of(options.seed, SPLIT)
    this.#record = new RunRecord(options.workload)
    this.#underWay = options.engines.map(() => new Set())
    this.#engines = options.engines.map(
      (model, i) =>
        new SimulatedEngine(model, this.#time, {
          isHeard: () => this.#pickers.some(({ followsEvents }) => followsEvents),
          encode: parts.encodeEvents,
          sent: (message) => this.#published(i, message),
        }),
    )
  }

  get horizonMs(): number {
    return this.#options.workload.horizonMs
  }

  nowMs(): number {
    return this.#time.nowMs()
  }

  at(atMs: number, run: () => void): void {
    this.#time.after(atMs - this.#time.nowMs(), run)
  }

  draw(stream: number): Draw {
    return Draw.of(this.#options.seed, stream)
  }

  async run(): Promise<Measures> {
    const limitMs = this.horizonMs + DRAIN_MS
    const isDone = () =>
      this.nowMs() >= limitMs || (this.nowMs() > this.horizonMs && this.#record.open === 0)
    await this.#time.run(() => this.#begin(), isDone)
    for (const engine of this.#engines) engine.close()
    const warnings = new Set(this.#pickers.flatMap((picker) => picker.warnings()))
    for (const picker of this.#pickers) await picker.close()
    return this.#record.measures(Math.min(this.nowMs(), limitMs), this.#engines, [...warnings])
  }

  send(request: SimulatedRequest): void {
    const sent = this.#record.sent(this.nowMs(), request)
    this.#route(sent)
  }

  #begin(): void {
    const { pickers, pickerRestartMs, engineRestartMs, workload } = this.#options
    for (let i = 0; i < pickers; i++) this.#pickers.push(this.#newPicker(false))
    for (let i = 0; i < pickers; i++) this.#scrapeForever(i)
    this.#sampleForever()
    if (pickerRestartMs !== undefined) {
      this.#every(pickerRestartMs, (n) => this.#restartPicker(n % pickers))
    }
    if (engineRestartMs !== undefined) {
      this.#every(engineRestartMs, (n) => this.#restartEngine(n % this.#engines.length))
    }
    workload.start(this)
  }

  #every(intervalMs: number, run: (n: number) => void): void {
    let n = 0
    const next = () => {
      run(n++)
      this.#time.after(intervalMs, next)
    }
    this.#time.after(intervalMs, next)
  }

  #newPicker(isReplacement: boolean): SimulatedPicker {
    const replay = async function* (this: Simulation, engine: number) {
      const kept = this.#engines[engine]!.kept()
      await this.#time.sleep(this.#options.eventDelayMs)
      yield* kept
    }
    return this.#parts.createPicker({
      engines: this.#engines.length,
      clock: this.#time,
      seed: Math.floor(
        Draw.of(this.#options.seed, PICKERS + this.#pickersMade++).share() * 2 ** 32,
      ),
      replay: isReplacement && this.#options.replay ? replay.bind(this) : undefined,
    })
  }

  #restartPicker(i: number): void {
    const old = this.#pickers[i]!
    this.#pickers[i] = this.#newPicker(true)
    for (const underWay of this.#underWay) {
      // What is under way goes on, but nobody is left to be told.
      for (const each of underWay) if (each.picker === old) each.routed = undefined
    }
    void old.close()
  }

  /** Requests that it was serving are sent again by their clients, at once. */
  #restartEngine(i: number): void {
    const lost = [...this.#underWay[i]!]
    this.#underWay[i]!.clear()
    this.#engines[i]!.restart()
    for (const picker of this.#pickers) picker.replaced(i)
    for (const { routed, sent } of lost) {
      routed?.broken()
      this.#record.lost(sent)
      this.#route(sent)
    }
  }

  #route(sent: SentRequest): void {
    const { request } = sent
    const picker = this.#pickers[this.#split.whole(0, this.#pickers.length - 1)]!
    this.#unrouted++
    picker.route(`sim-${this.#sent++}`, request.prompt, request.answer.length).then(
      (routed) => {
        this.#unrouted--
        this.#dispatch(sent, picker, routed)
      },
      () => {
        this.#unrouted--
        this.#record.refused(sent)
      },
    )
    // Whatever waits for a promise has had its turn by then.
    this.#time.after(0, () => {
      if (this.#unrouted === 0) return
      throw new SimulationError(
        'a request was not routed in its own moment: some plugin waits for a timer or the network, which a simulation cannot wait for; take it out of the configuration',
      )
    })
  }

  #dispatch(sent: SentRequest, picker: SimulatedPicker, routed: RoutedRequest): void {
    const { prompt, answer } = sent.request
    const engine = this.#engines[routed.engine]!
    if (!engine.takes(prompt.length + answer.length)) {
      routed.broken()
      this.#record.refused(sent)
      return
    }
    const underWay: Underway = { sent, picker, routed }
    const all = this.#underWay[routed.engine]!
    all.add(underWay)
    const sequence = engine.submit(prompt, answer, {
      firstToken: () => {
        this.#record.firstToken(sent, this.nowMs())
        underWay.routed?.firstToken()
      },
      ended: (cachedTokens) => {
        all.delete(underWay)
        this.#record.answered(sent, this.nowMs(), cachedTokens, sequence)
        const [promptTokens, completionTokens] = [prompt.length, answer.length]
        underWay.routed?.ended({ promptTokens, cachedTokens, completionTokens })
        sent.request.answered?.()
      },
    })
    this.#record.picked(sent, sequence)
  }

  #published(engine: number, message: EngineMessage): void {
    for (const [i, picker] of this.#pickers.entries()) {
      if (!picker.followsEvents) continue
      const { starts } = this.#engines[engine]!
      this.#time.timers.after(this.#options.eventDelayMs, () => {
        // What an engine said last is read before it is found to be another one.
        if (this.#engines[engine]!.starts !== starts) return
        // The picker that is there when it arrives.
        this.#pickers[i]!.receive(engine, message)
      })
    }
  }

  /** Each engine is read at its own phase of the interval, as scrapers that are jittered do. */
  #scrapeForever(i: number): void {
    const { scrapeIntervalMs, scrapeDelayMs, seed } = this.#options
    const phases = Draw.of(seed, PHASES + i)
    for (const [number, engine] of this.#engines.entries()) {
      const scrape = () => {
        const { state } = engine
        this.#time.timers.after(scrapeDelayMs, () => this.#pickers[i]!.scraped(number, state))
        this.#time.timers.after(scrapeIntervalMs, scrape)
      }
      this.#time.timers.after(phases.share() * scrapeIntervalMs, scrape)
    }
  }

  #sampleForever(): void {
    const { warmUpMs } = this.#options.workload
    const sample = () => {
      const inFlight = this.#underWay.map((each) => each.size)
      this.#record.sample(this.nowMs(), inFlight, this.#engines)
      this.#time.timers.after(SAMPLE_MS, sample)
    }
    this.#time.timers.after(SAMPLE_MS, sample)
    const mark = () => this.#record.mark(this.#engines)
    this.#time.timers.after(warmUpMs, mark)
    this.#time.timers.after(this.horizonMs, mark)
  }
}

/** A request at an engine. */
interface Underway {
  readonly sent: SentRequest
  readonly picker: SimulatedPicker
  /** Undefined once its picker is gone. */
  routed: RoutedRequest | undefined
}
