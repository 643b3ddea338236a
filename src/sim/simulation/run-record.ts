import type { Sequence } from '../sequence.ts'
import { type Measures, type Moment, meanOf, spreadOf } from './measures.ts'
import type { SimulatedEngine } from './simulated-engine.ts'
import type { SimulatedRequest, Workload } from './workload.ts'

/** Points of a timeline. */
const MOMENTS = 60

/** One request from its sending to its end. */
export interface SentRequest {
  readonly request: SimulatedRequest
  readonly atMs: number
  firstMs: number | undefined
  endMs: number | undefined
  cachedTokens: number
  /** Prompt tokens in blocks that some request before it had. */
  knownTokens: number
  isRefused: boolean
}

/** Keeps account of a run. */
export class RunRecord {
  readonly #workload: Workload
  readonly #requests: SentRequest[] = []
  /** Hashes of the blocks that were ever computed anywhere. */
  readonly #known = new Set<bigint>()
  readonly #skews: number[] = []
  readonly #waits: number[] = []
  readonly #sampled: { atMs: number; inFlight: number; waiting: number }[] = []
  readonly #marks: number[] = []
  #open = 0
  #lost = 0

  constructor(workload: Workload) {
    this.#workload = workload
  }

  /** Requests that have neither been answered nor refused. */
  get open(): number {
    return this.#open
  }

  sent(atMs: number, request: SimulatedRequest): SentRequest {
    const sent: SentRequest = {
      request,
      atMs,
      firstMs: undefined,
      endMs: undefined,
      cachedTokens: 0,
      knownTokens: 0,
      isRefused: false,
    }
    this.#requests.push(sent)
    this.#open++
    return sent
  }

  /** Learns the prompt's blocks; the last token is always computed, so that its block is never reused. */
  picked(sent: SentRequest, sequence: Sequence): void {
    const { length } = sent.request.prompt
    const { blockTokens } = sequence
    const usable = Math.floor((length - 1) / blockTokens)
    let known = 0
    while (known < usable && this.#known.has(sequence.hash(known).published)) known++
    sent.knownTokens = known * blockTokens
    this.#learn(sequence, Math.floor(length / blockTokens), known)
  }

  firstToken(sent: SentRequest, atMs: number): void {
    sent.firstMs ??= atMs
  }

  answered(sent: SentRequest, atMs: number, cachedTokens: number, sequence: Sequence): void {
    sent.endMs = atMs
    sent.cachedTokens = cachedTokens
    this.#open--
    const { blockTokens } = sequence
    // The last token's own KV is never computed.
    const from = Math.floor(sent.request.prompt.length / blockTokens)
    this.#learn(sequence, Math.floor((sequence.length - 1) / blockTokens), from)
  }

  refused(sent: SentRequest): void {
    sent.isRefused = true
    this.#open--
  }

  /** It begins anew: its client has seen nothing that counts. */
  lost(sent: SentRequest): void {
    sent.firstMs = undefined
    this.#lost++
  }

  /** @param inFlight requests at each engine */
  sample(atMs: number, inFlight: readonly number[], engines: readonly SimulatedEngine[]): void {
    const waiting = engines.reduce((sum, engine) => sum + engine.waiting, 0)
    const sum = inFlight.reduce((a, b) => a + b, 0)
    this.#sampled.push({ atMs, inFlight: sum, waiting })
    if (atMs < this.#workload.warmUpMs || atMs >= this.#workload.horizonMs) return
    this.#waits.push(waiting / engines.length)
    // With next to nothing to do the busiest is many times the mean, which tells nothing.
    if (sum > engines.length) this.#skews.push((Math.max(...inFlight) * engines.length) / sum)
  }

  /** Begins and ends the time in which generated tokens are counted. */
  mark(engines: readonly SimulatedEngine[]): void {
    this.#marks.push(engines.reduce((sum, engine) => sum + engine.generatedTokens, 0))
  }

  /** @param endMs when the run ended */
  measures(
    endMs: number,
    engines: readonly SimulatedEngine[],
    warnings: readonly string[],
  ): Measures {
    const { warmUpMs, horizonMs } = this.#workload
    const all = this.#requests.filter(({ atMs }) => atMs >= warmUpMs && atMs < horizonMs)
    const counted = all.filter(({ isRefused }) => !isRefused)
    const promptTokens = sumOf(counted, ({ request }) => request.prompt.length)
    const finished = counted.filter(({ endMs: end }) => end !== undefined)
    const itl = finished
      .filter(({ request }) => request.answer.length > 1)
      .map(({ firstMs, endMs: end, request }) => (end! - firstMs!) / (request.answer.length - 1))
    const [before = 0, after = before] = this.#marks
    return {
      requests: all.length,
      unfinished: counted.length - finished.length,
      refused: all.length - counted.length,
      ttftS: spreadOf(counted.map(({ atMs, firstMs }) => ((firstMs ?? endMs) - atMs) / 1000)),
      itlMs: spreadOf(itl),
      wholeS: spreadOf(counted.map(({ atMs, endMs: end }) => ((end ?? endMs) - atMs) / 1000)),
      outputTokensPerSecond: ((after - before) * 1000) / (horizonMs - warmUpMs),
      hitRate: shareOf(
        sumOf(counted, (each) => each.cachedTokens),
        promptTokens,
      ),
      hitCeiling: shareOf(
        sumOf(counted, (each) => each.knownTokens),
        promptTokens,
      ),
      waiting: meanOf(this.#waits),
      skew: this.#skews.length === 0 ? 1 : meanOf(this.#skews),
      preemptions: sumOf(engines, (engine) => engine.preemptions),
      totals: this.#totals(engines),
      timeline: this.#timeline(endMs),
      warnings,
    }
  }

  #totals(engines: readonly SimulatedEngine[]): Measures['totals'] {
    const answered = this.#requests.filter(({ endMs }) => endMs !== undefined)
    return {
      sent: this.#requests.length,
      answered: answered.length,
      refused: this.#requests.filter(({ isRefused }) => isRefused).length,
      unanswered: this.#open,
      resent: this.#lost,
      promptTokens: sumOf(this.#requests, ({ request }) => request.prompt.length),
      generatedTokens: sumOf(engines, (engine) => engine.generatedTokens),
      answerTokens: sumOf(answered, ({ request }) => request.answer.length),
      events: sumOf(engines, ({ sent }) => sent.events),
      eventMessages: sumOf(engines, ({ sent }) => sent.messages),
    }
  }

  #timeline(endMs: number): readonly Moment[] {
    const spanMs = this.#workload.horizonMs / MOMENTS
    return Array.from({ length: MOMENTS }, (_, i) => {
      const isThen = ({ atMs }: { readonly atMs: number }) => Math.floor(atMs / spanMs) === i
      const sent = this.#requests.filter((each) => isThen(each) && !each.isRefused)
      const samples = this.#sampled.filter(isThen)
      return {
        atS: ((i + 0.5) * spanMs) / 1000,
        ttftS:
          sent.length === 0
            ? undefined
            : meanOf(sent.map(({ atMs, firstMs }) => ((firstMs ?? endMs) - atMs) / 1000)),
        waiting: meanOf(samples.map(({ waiting }) => waiting)),
        inFlight: meanOf(samples.map(({ inFlight }) => inFlight)),
      }
    })
  }

  #learn(sequence: Sequence, blocks: number, from: number): void {
    for (let i = from; i < blocks; i++) this.#known.add(sequence.hash(i).published)
  }
}

function sumOf<T>(list: readonly T[], value: (each: T) => number): number {
  return list.reduce((sum, each) => sum + value(each), 0)
}

function shareOf(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}
