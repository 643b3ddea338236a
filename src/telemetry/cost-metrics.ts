import type { Endpoint } from '../framework/endpoint.ts'
import type { Observer } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import {
  COST_FINDING,
  type Endpoints,
  type Histogram,
  type Logger,
  type Metrics,
  type Notices,
} from '../framework/services.ts'

const SECONDS_BUCKETS = [
  0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100,
] as const
const SHARE_BUCKETS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.75, 1] as const
const CAPACITY_NOTICE = 'cost-capacity'

/** What the picked endpoints cost by the cost scorer's terms, and how much known work has to be done again. */
export class CostMetrics implements Observer {
  readonly #metrics: Metrics
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #seconds = new Map<string, Histogram>()
  readonly #lost: Histogram
  readonly #endpoints: Endpoints
  /** The endpoints as they were when their capacities were last looked at. */
  #looked: readonly Endpoint[] | undefined

  constructor(services: {
    readonly metrics: Metrics
    readonly logger: Logger
    readonly notices: Notices
    readonly endpoints: Endpoints
  }) {
    this.#metrics = services.metrics
    this.#logger = services.logger.named('cost-scorer')
    this.#notices = services.notices
    this.#endpoints = services.endpoints
    this.#lost = services.metrics.histogram(
      'epp_reuse_lost_ratio',
      'Share of a prompt that some endpoint was sent before and the picked one has not cached.',
      SHARE_BUCKETS,
    )
  }

  picked(request: InferenceRequest): void {
    const finding = request.attributes.get(COST_FINDING)
    if (!finding) return
    for (const [term, seconds] of Object.entries(finding.terms)) {
      this.#histogram(term).observe(seconds)
    }
    const { promptTokens, knownTokens, matchedTokens } = finding
    if (promptTokens > 0) this.#lost.observe((knownTokens - matchedTokens) / promptTokens)
    this.#sayUnknown()
  }

  #histogram(term: string): Histogram {
    let histogram = this.#seconds.get(term)
    if (!histogram) {
      histogram = this.#metrics.histogram(
        'epp_cost_seconds',
        'Delay that the picked endpoint was expected to cause, by the term of the cost scorer.',
        SECONDS_BUCKETS,
        { term },
      )
      this.#seconds.set(term, histogram)
    }
    return histogram
  }

  /** The terms that need the capacity are 0 where it is unknown. */
  #sayUnknown(): void {
    const endpoints = this.#endpoints.list()
    if (endpoints === this.#looked) return
    this.#looked = endpoints
    const names: string[] = []
    for (const { metrics, hostPort } of endpoints) {
      const { kvBlocks, blockTokens } = metrics ?? {}
      if (metrics && (kvBlocks === undefined || blockTokens === undefined)) names.push(hostPort)
    }
    const shown = names.slice(0, 5).join(', ') + (names.length > 5 ? ', …' : '')
    const text =
      names.length === 0
        ? undefined
        : `${names.length} endpoints do not say how large their KV memory is (${shown}): the cost terms kv and rent are 0 there; vLLM says it in vllm:cache_config_info`
    this.#notices.set(CAPACITY_NOTICE, text)
    if (text) {
      this.#logger.warnOnce(CAPACITY_NOTICE, 'KV capacity unknown', {
        endpoints: names.slice(0, 5),
      })
    }
  }
}
