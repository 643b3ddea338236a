import { PROMPT_TOKENS } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import { type Counter, type Metrics, PREFIX_FINDING } from '../framework/services.ts'

/** Compares what prefix scorers predicted with what the engines say they took from their caches. */
export class PredictionMetrics implements Observer {
  readonly #predicted: Counter
  readonly #actual: Counter
  readonly #exact: Counter
  readonly #wrong: Counter

  constructor(metrics: Metrics) {
    this.#predicted = metrics.counter(
      'epp_prefix_predicted_tokens_total',
      "Prompt tokens expected in the picked endpoint's cache, of requests whose engine told the truth afterwards.",
    )
    this.#actual = metrics.counter(
      'epp_prefix_cached_tokens_total',
      'Prompt tokens that the engines took from their caches.',
    )
    const help = "Requests whose expected cached tokens were compared with the engine's, by result."
    this.#exact = metrics.counter('epp_prefix_predictions_total', help, { result: 'exact' })
    this.#wrong = metrics.counter('epp_prefix_predictions_total', help, { result: 'different' })
  }

  ended(request: InferenceRequest, endpoint: Endpoint, { usage }: Outcome): void {
    const finding = request.attributes.get(PREFIX_FINDING)
    const at = finding?.endpoints.indexOf(endpoint) ?? -1
    if (usage?.cachedTokens === undefined || !finding || at < 0) return
    // Of several prompts vLLM reports the last one's cached tokens only (0.10.0 to 0.32.0).
    if (request.attributes.get(PROMPT_TOKENS)?.prompts.length !== 1) return
    const predicted = finding.match.blocks[at]! * finding.match.blockTokens[at]!
    this.#predicted.inc(predicted)
    this.#actual.inc(usage.cachedTokens)
    if (predicted === usage.cachedTokens) this.#exact.inc()
    else this.#wrong.inc()
  }
}
