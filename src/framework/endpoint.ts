/** What the last scrape of one endpoint said. Replaced as a whole, never changed. */
export interface EndpointMetrics {
  /** Requests waiting in the engine's queue. */
  readonly waiting: number
  /** Requests in the engine's running batches. */
  readonly running: number
  /** Share of KV blocks in use by running requests, in [0, 1]. */
  readonly kvCacheUsage: number
  /** Tokens per KV block as the engine states it; undefined when it does not. */
  readonly blockTokens: number | undefined
  /** KV blocks of the engine; undefined when it does not say. */
  readonly kvBlocks: number | undefined
  /** Prefix-caching hash algorithm as the engine states it; undefined when it does not. */
  readonly hashAlgorithm: string | undefined
  /** LoRA adapters as the engine states them; undefined when it does not. */
  readonly adapters: AdapterLoad | undefined
  /** How its prefix cache was used since its start; absent when it does not say. */
  readonly prefixCache?: PrefixCacheCounters
  /** Values that the configuration asks for by name besides. */
  readonly custom: ReadonlyMap<string, number>
  /** When the answer arrived, in the clock's monotonic milliseconds. */
  readonly scrapedAtMs: number
}

/** Sums since an engine's start (vLLM's `vllm:prefix_cache_queries_total`, `..._hits_total`, `vllm:request_success_total`). */
export interface PrefixCacheCounters {
  /** Tokens of prompts that were looked up. */
  readonly queriedTokens: number
  /** Those of them that were cached. */
  readonly hitTokens: number
  readonly finishedRequests: number
}

/** LoRA adapters of one engine (vLLM's `vllm:lora_requests_info`). */
export interface AdapterLoad {
  readonly running: readonly string[]
  readonly waiting: readonly string[]
  /** Adapters that it can hold at once. */
  readonly max: number
}

/** One model server that can be picked: an address, a port, a rank. An immutable snapshot. */
export interface Endpoint {
  /** Unique among the endpoints of all time: namespace/name, host:port, and an incarnation number. */
  readonly id: string
  /** Small integer, unique among living endpoints, used again after a removal. */
  readonly slot: number
  readonly namespace: string
  readonly name: string
  /** IP address without brackets. */
  readonly address: string
  readonly port: number
  /**
   * Its name, unique among living endpoints: `address:port`, IPv6 in brackets, and `#rank` behind it where several ranks
   * share the port. `networkAddress` tells where it is reached.
   */
  readonly hostPort: string
  /** Data-parallel rank, 0 for the first: the position among the ports of one server, or among those who share one port. */
  readonly rank: number
  readonly labels: ReadonlyMap<string, string>
  /** Undefined until the first scrape succeeds, and again when the last one is too old to be believed. */
  readonly metrics: EndpointMetrics | undefined
}

/** What discovery says of one endpoint. */
export interface EndpointSpec {
  readonly namespace: string
  readonly name: string
  readonly address: string
  readonly port: number
  readonly rank: number
  readonly labels: Readonly<Record<string, string>>
  /** Port of `/metrics` and `/v1/models`; `port` when absent. */
  readonly metricsPort?: number
  /** Changes when the server is replaced under the same name, such as a pod's uid. */
  readonly uid?: string
}

const RANK_MARK = '#'

/** Joins an IP address and a port, IPv6 in brackets. */
export function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** The name of a rank that shares its port with others: `10.0.0.5:8000#1`. */
export function sharedPortName(address: string, port: number, rank: number): string {
  return `${hostPort(address, port)}${RANK_MARK}${rank}`
}

/** True for a rank that shares its port with others: which one is meant, a header of the request must say. */
export function sharesPort({ hostPort: name }: Pick<Endpoint, 'hostPort'>): boolean {
  return name.includes(RANK_MARK)
}

/**
 * Where an endpoint is reached, for everything that goes over the network or comes from it.
 *
 * @param name its `hostPort`
 * @returns `address:port`, the same for all ranks that share a port
 */
export function networkAddress(name: string): string {
  const mark = name.indexOf(RANK_MARK)
  return mark < 0 ? name : name.slice(0, mark)
}
