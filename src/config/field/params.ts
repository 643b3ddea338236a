/** A parameter that the field documents for a type and that changes nothing here. */
export interface FieldParam {
  /** Keys from the parameters down, dotted; stands for everything under it too. */
  readonly path: string
  /** True for a value that asks for what is done anyway. */
  readonly isDone?: (value: unknown) => boolean
  /** What stands in for it; undefined when there is nothing to say. */
  readonly instead?: string
  /** The values that the field knows, where there are few; another one is a mistake. */
  readonly values?: readonly unknown[]
}

const plain = (...paths: string[]): readonly FieldParam[] => paths.map((path) => ({ path }))

const HASH_ALGORITHM = {
  values: ['cbor-fnv', 'xxh64'],
  instead: 'blocks are known by hashes of their own over the token ids, whatever the engines use',
}
const TOKENIZERS = 'token ids come from folders under --tokenizers-dir, else from the engines'
const TOKENS_IN_TIME = 'a request waits 400 ms for its token ids at most'
const INDEX_SIZE = 'indexerConfig.kvBlockIndexConfig'

/** Of the precise scorer of llm-d's first versions and of the producer of its later ones. */
const PRECISE: readonly FieldParam[] = [
  { path: 'tokenProcessorConfig.hashAlgorithm', ...HASH_ALGORITHM },
  { path: 'indexerConfig.tokenProcessorConfig.hashAlgorithm', ...HASH_ALGORITHM },
  ...plain(
    'indexerConfig.prefixStoreConfig',
    'indexerConfig.kvBlockScorerConfig',
    'kvCacheRedisAddr',
  ),
  { path: 'indexerConfig.tokenizersPoolConfig', instead: TOKENIZERS },
  { path: 'tokenizersPoolConfig', instead: TOKENIZERS },
  { path: `${INDEX_SIZE}.redisConfig`, instead: 'the index is in memory' },
  { path: `${INDEX_SIZE}.valkeyConfig`, instead: 'the index is in memory' },
  {
    path: `${INDEX_SIZE}.inMemoryConfig.podCacheSize`,
    instead: 'every endpoint that holds a block is kept',
  },
  {
    path: 'kvEventsConfig.topicFilter',
    // Topics that do not begin with kv@ are never taken.
    isDone: (value) => typeof value === 'string' && 'kv@'.startsWith(value),
    instead: 'every topic of the form kv@ADDRESS@MODEL is taken',
  },
  { path: 'kvEventsConfig.concurrency', instead: 'one thread applies all events' },
  {
    path: 'kvEventsConfig.engineType',
    values: ['vllm', 'sglang'],
    isDone: () => true,
  },
  {
    path: 'kvEventsConfig.podDiscoveryConfig.podLabelSelector',
    instead: 'every endpoint of the pool is dialled',
  },
  {
    path: 'kvEventsConfig.podDiscoveryConfig.podNamespace',
    instead: 'every endpoint of the pool is dialled',
  },
]

const PARAMS: Readonly<Record<string, readonly FieldParam[]>> = {
  'precise-prefix-cache-scorer': PRECISE,
  'precise-prefix-cache-producer': PRECISE,
  'prefix-cache-scorer': [
    { path: 'mode', isDone: (value) => value === 'estimate' },
    ...[
      'tokenProcessorConfig',
      'indexerConfig',
      'kvEventsConfig',
      'speculativeIndexing',
      'speculativeTTL',
    ].map((path) => ({ path, instead: 'it is of "precise-prefix-cache-scorer"; write that type' })),
    {
      path: 'hashBlockSize',
      instead: 'it counts characters; write blockSizeTokens, about a quarter of it',
    },
  ],
  'inflight-load-producer': [
    {
      path: 'syncCrossReplicaState',
      isDone: (value) => value === false,
      instead: 'each picker counts what it has sent itself',
    },
  ],
  'active-request-scorer': [{ path: 'requestTimeout', instead: 'a request counts until it ends' }],
  'no-hit-lru-scorer': plain('prefixPluginType', 'prefixPluginName'),
  'context-length-aware': plain('reusableTokensProducerName'),
  'metrics-data-source': plain('caCertPath', 'clientCertPath', 'clientKeyPath'),
  'token-producer': [
    { path: 'vllm.timeout', instead: TOKENS_IN_TIME },
    { path: 'vllm.mmTimeout', instead: TOKENS_IN_TIME },
    ...['estimate', 'udsTokenizerConfig', 'tokenizersPoolConfig', 'local', 'hf', 'uds'].map(
      (path) => ({
        path,
        instead: TOKENIZERS,
      }),
    ),
  ],
}

/** The parameter of that type that `path` is, or is inside of. @param path keys only, from the parameters down */
export function fieldParam(type: string, path: readonly string[]): FieldParam | undefined {
  const text = path.join('.')
  return fieldParams(type).find((known) => text === known.path || text.startsWith(`${known.path}.`))
}

/** The parameters of that type that are inside of `path`. */
export function fieldParamsWithin(type: string, path: readonly string[]): readonly FieldParam[] {
  const text = path.join('.')
  return fieldParams(type).filter((known) => known.path.startsWith(`${text}.`))
}

/** What the field documents of a type and this build does not have; empty for a type without any. */
export function fieldParams(type: string): readonly FieldParam[] {
  return PARAMS[type] ?? []
}
