import { PROMPT_TOKENS } from '../framework/attributes.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import { type Counter, type Metrics, PREFIX_FINDING } from '../framework/services.ts'

/** Beyond so many the counters are looked up anew: endpoints come and go. */
const MAX_REMEMBERED = 1000

/** Counters of one endpoint in one mode. */
interface Counters {
  readonly predicted: Counter
  readonly actual: Counter
  readonly exact: Counter
  readonly over: Counter
  readonly under: Counter
}

/**
 * Compares what prefix scorers predicted with what the engines say they took from their caches: by endpoint, and by whether
 * the engines' events told it (`tracked`) or this picker's own picks (`routed`).
 */
export class PredictionMetrics implements Observer {
  readonly #metrics: Metrics
  readonly #counters = new Map<string, Counters>()

  constructor(metrics: Metrics) {
    this.#metrics = metrics
  }

  ended(request: InferenceRequest, endpoint: Endpoint, { usage }: Outcome): void {
    const finding = request.attributes.get(PREFIX_FINDING)
    const at = finding?.endpoints.indexOf(endpoint) ?? -1
    if (usage?.cachedTokens === undefined || !finding || at < 0) return
    // Of several prompts vLLM reports the last one's cached tokens only (0.10.0 to 0.32.0).
    if (request.attributes.get(PROMPT_TOKENS)?.prompts.length !== 1) return
    const predicted = finding.match.blocks[at]! * finding.match.blockTokens[at]!
    const { cachedTokens } = usage
    const counters = this.#of(endpoint, finding.told?.[at] === true ? 'tracked' : 'routed')
    counters.predicted.inc(predicted)
    counters.actual.inc(cachedTokens)
    if (predicted === cachedTokens) counters.exact.inc()
    else if (predicted > cachedTokens) counters.over.inc()
    else counters.under.inc()
  }

  #of({ hostPort }: Endpoint, mode: 'tracked' | 'routed'): Counters {
    const key = `${mode} ${hostPort}`
    let counters = this.#counters.get(key)
    if (counters === undefined) {
      if (this.#counters.size >= MAX_REMEMBERED) this.#counters.clear()
      counters = this.#create({ endpoint: hostPort, mode })
      this.#counters.set(key, counters)
    }
    return counters
  }

  #create(labels: Readonly<Record<'endpoint' | 'mode', string>>): Counters {
    const predictions = (result: string) =>
      this.#metrics.counter(
        'epp_prefix_predictions_total',
        "Requests whose expected cached tokens were compared with the engine's, by result.",
        { ...labels, result },
      )
    return {
      predicted: this.#metrics.counter(
        'epp_prefix_predicted_tokens_total',
        "Prompt tokens expected in the picked endpoint's cache, of requests whose engine told the truth afterwards.",
        labels,
      ),
      actual: this.#metrics.counter(
        'epp_prefix_cached_tokens_total',
        'Prompt tokens that the engines took from their caches.',
        labels,
      ),
      exact: predictions('exact'),
      over: predictions('over'),
      under: predictions('under'),
    }
  }
}
