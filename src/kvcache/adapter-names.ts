import type { Counter, Logger, Metrics, Models } from '../framework/services.ts'

const MAX_NAMES = 4096

/** Tells LoRA adapters from base models, as far as events, topics and `/v1/models` say. */
export class AdapterNames {
  readonly #models: Models
  readonly #adapters = new Set<string>()
  readonly #bases = new Set<string>()

  readonly #logger: Logger
  readonly #unknown: Counter

  constructor(models: Models, logger: Logger, metrics: Metrics) {
    this.#models = models
    this.#logger = logger
    this.#unknown = metrics.counter(
      'epp_kv_unknown_model_requests_total',
      'Lookups for a model that neither events, topics nor /v1/models name: they match nothing.',
    )
  }

  /** True when some endpoint's `/v1/models` has the name. */
  isListed(model: string): boolean {
    return this.#models.isBase(model) || this.#models.baseOf(model) !== undefined
  }

  sawAdapter(name: string): void {
    if (this.#adapters.size < MAX_NAMES) this.#adapters.add(name)
  }

  sawBase(name: string): void {
    if (name !== '' && this.#bases.size < MAX_NAMES) this.#bases.add(name)
  }

  /**
   * The adapter that a requested model is; undefined for a base model. A name that nobody knows counts as an adapter as
   * soon as some base model is known: it must not match the base model's blocks.
   *
   * @param isCounted false for a second look at what was counted before
   */
  adapterOf(model: string, isCounted = true): string | undefined {
    if (model === '') return undefined
    if (this.#adapters.has(model) || this.#models.baseOf(model) !== undefined) return model
    if (this.#bases.has(model) || this.#models.isBase(model)) return undefined
    if (this.#bases.size === 0) return undefined
    if (!isCounted) return model
    this.#unknown.inc()
    this.#logger.warnOnce(
      'kv-unknown-model',
      'a requested model is named by no /v1/models, KV event or topic: its prompts match no blocks; see epp_kv_unknown_model_requests_total',
      { model: model.slice(0, 200), known: [...this.#bases].slice(0, 5) },
    )
    return model
  }
}
