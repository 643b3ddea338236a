import { LRUCache } from 'lru-cache'
import type { Counter, Logger, Metrics, Notices } from '../framework/services.ts'

/** Requests whose counts differ before a model's local tokenizer is given up, where nothing else is said. */
export const DEFAULT_MAX_MISMATCHES = 3

/** Models that are watched; a client's words, hence bounded. */
const MAX_MODELS = 256

interface Watched {
  mismatches: number
  readonly counter: Counter
}

/** Compares the number of ids that were said to be exact with what engines count, model by model. */
export class CountCheck {
  readonly #metrics: Metrics
  readonly #notices: Notices
  readonly #logger: Logger
  readonly #watched: LRUCache<string, Watched>
  /** Undefined where nobody else can be asked. */
  #maxMismatches: number | undefined = DEFAULT_MAX_MISMATCHES

  constructor(metrics: Metrics, notices: Notices, logger: Logger) {
    this.#metrics = metrics
    this.#notices = notices
    this.#logger = logger
    this.#watched = new LRUCache({
      max: MAX_MODELS,
      dispose: (_watched, model) => this.#notices.set(noticeOf(model), undefined),
    })
  }

  /**
   * Trusts all models again.
   *
   * @param maxMismatches after how many a model is distrusted; undefined for never
   */
  restart(maxMismatches: number | undefined): void {
    this.#maxMismatches = maxMismatches
    this.#watched.clear()
  }

  /** True when the local tokenizer of a model has proved wrong often enough. */
  distrusts(model: string): boolean {
    const mismatches = this.#watched.peek(model)?.mismatches ?? 0
    return this.#maxMismatches !== undefined && mismatches >= this.#maxMismatches
  }

  /** @param here tokens of the ids that were said to be exact */
  compare(model: string, here: number, engine: number): void {
    if (here === engine) return
    let watched = this.#watched.get(model)
    if (watched === undefined) {
      const help = 'Requests whose exact token ids are not as many as the engine counted.'
      const counter = this.#metrics.counter('epp_token_count_mismatches_total', help, { model })
      watched = { mismatches: 0, counter }
      this.#watched.set(model, watched)
    }
    watched.mismatches++
    watched.counter.inc()
    const name = JSON.stringify(model.slice(0, 128))
    const asks = this.distrusts(model)
    this.#logger.warnOnce(
      `count-mismatch:${asks}:${model}`,
      asks
        ? `the tokenizer for ${name} is not the engine's: the engines are asked instead until the configuration changes`
        : `the tokenizer for ${name} counts other tokens than the engine; check that its folder holds the engine's files, and its chat template (epp tokenize shows the ids)`,
      { here, engine },
    )
    this.#notices.set(
      noticeOf(model),
      `${watched.mismatches} requests for ${name} had other token counts at the engine (last ${here} here, ${engine} there): ` +
        (asks ? 'the engines are asked for its ids' : 'prefix matches may be missed'),
    )
  }
}

function noticeOf(model: string): string {
  return `tokenizer:mismatch:${model.slice(0, 128)}`
}
