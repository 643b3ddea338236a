import type { Counter, Histogram, Metrics } from '../framework/services.ts'

const DURATION_BUCKETS = [0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1]

/** How a request got its ids: the engine's, the tokenizer's with a doubt, or pseudo ids. */
export type TokenizeResult = 'exact' | 'guess' | 'estimate'

/** Where the ids came from. */
export type TokenizePath = 'inline' | 'thread' | 'engine'

/** Counts of the tokenizer; each metric is made when it is first needed. */
export class TokenizeMetrics {
  readonly #metrics: Metrics
  readonly #requests = new Map<string, Counter>()
  readonly #seconds = new Map<TokenizePath, Histogram>()
  readonly #pieces = new Map<string, Counter>()

  /**
   * @param queueLength prompts that wait for a thread
   * @param cacheBytes memory of remembered ids and messages
   */
  constructor(metrics: Metrics, queueLength: () => number, cacheBytes: () => number) {
    this.#metrics = metrics
    metrics.observed(
      'epp_tokenizer_queue_length',
      'Prompts that wait for a tokenizer thread.',
      () => [{ labels: {}, value: queueLength() }],
    )
    metrics.observed(
      'epp_tokenizer_cache_bytes',
      'Memory of remembered token ids and messages of chats.',
      () => [{ labels: {}, value: cacheBytes() }],
    )
  }

  /** @param reason code of a doubt; `none` when exact */
  request(result: TokenizeResult, reason: string, path: TokenizePath, seconds: number): void {
    const key = `${result} ${reason}`
    let requests = this.#requests.get(key)
    if (requests === undefined) {
      requests = this.#metrics.counter(
        'epp_tokenized_requests_total',
        "Requests by how they got their token ids: the engine's, a guess of the tokenizer, or an estimate.",
        { result, reason },
      )
      this.#requests.set(key, requests)
    }
    requests.inc()
    let histogram = this.#seconds.get(path)
    if (histogram === undefined) {
      histogram = this.#metrics.histogram(
        'epp_tokenize_seconds',
        'Time to get the token ids of one request.',
        DURATION_BUCKETS,
        { path },
      )
      this.#seconds.set(path, histogram)
    }
    histogram.observe(seconds)
  }

  pieces(result: 'hit' | 'miss', count: number): void {
    let pieces = this.#pieces.get(result)
    if (pieces === undefined) {
      pieces = this.#metrics.counter(
        'epp_tokenizer_cache_pieces_total',
        'Pieces of prompts between special tokens, by whether their ids were remembered.',
        { result },
      )
      this.#pieces.set(result, pieces)
    }
    pieces.inc(count)
  }
}
