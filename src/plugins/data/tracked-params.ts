import { type Static, Type } from 'typebox'
import { durationMs } from '../../framework/duration.ts'
import type {
  ExpectedHashing,
  PrefixMatcher,
  TrackedPrefixIndex,
} from '../../framework/services.ts'

/** Go's durations. */
const DURATION = '^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$'

const BlockTokens = Type.Integer({
  minimum: 1,
  description: 'Tokens per KV block; learned from the events, and verified against them when set.',
})

const TokenProcessor = Type.Object(
  {
    blockSize: Type.Optional(BlockTokens),
    blockSizeTokens: Type.Optional(BlockTokens),
    hashSeed: Type.Optional(
      Type.Union([Type.String(), Type.Integer()], {
        description: "The engines' PYTHONHASHSEED; not needed, and verified when set.",
      }),
    ),
    model: Type.Optional(
      Type.String({
        description: 'Model whose tokenizer folder to use when the served name has none.',
      }),
    ),
  },
  { description: 'What is known of the engines: block size, hash seed, model.' },
)

const EVENTS = {
  zmqEndpoint: Type.Optional(
    Type.String({ description: 'Address to bind, to which engines connect: tcp://*:5557.' }),
  ),
  discoverPods: Type.Optional(
    Type.Boolean({ description: 'True dials every endpoint instead of binding.' }),
  ),
  podDiscoveryConfig: Type.Optional(
    Type.Object(
      {
        socketPort: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 65535,
            description: "Port of the engines' event sockets; the rank is added.",
          }),
        ),
        replaySocketPort: Type.Optional(
          Type.Integer({
            minimum: 0,
            maximum: 65535,
            description:
              'Port at which the engines send missed events again (replay_endpoint); the rank is added. Not asked when absent or 0.',
          }),
        ),
      },
      { description: 'How endpoints are dialled.' },
    ),
  ),
}

/** Params that the scorer and the producer share. */
export const TRACKED_PARAMS = {
  tokenProcessorConfig: Type.Optional(TokenProcessor),
  indexerConfig: Type.Optional(
    Type.Object(
      {
        tokenProcessorConfig: Type.Optional(TokenProcessor),
        kvCacheBackendConfigs: Type.Optional(
          Type.Array(
            Type.Object({
              name: Type.String({ description: 'Medium: gpu, cpu, disk.' }),
              weight: Type.Number({
                minimum: 0,
                maximum: 1,
                description: 'What a block in that medium is worth; 1 is a block in GPU memory.',
              }),
            }),
            { description: 'What a cached block is worth by the medium that holds it.' },
          ),
        ),
        kvBlockIndexConfig: Type.Optional(
          Type.Object(
            {
              enableMetrics: Type.Optional(
                Type.Boolean({ description: 'False turns the `metrics beat` line off.' }),
              ),
              metricsLoggingInterval: Type.Optional(
                Type.Union([Type.String({ pattern: DURATION }), Type.Number({ minimum: 0 })], {
                  description:
                    'Time between two `metrics beat` lines: a duration such as 1m, or nanoseconds.',
                }),
              ),
              maxMemoryMiB: Type.Optional(
                Type.Integer({ minimum: 16, description: 'Upper bound of the index in memory.' }),
              ),
            },
            { description: 'The index itself.' },
          ),
        ),
      },
      { description: 'The index and what it is told of the engines.' },
    ),
  ),
  kvEventsConfig: Type.Optional(
    Type.Object(EVENTS, { description: 'How events reach the picker.' }),
  ),
  speculativeIndexing: Type.Boolean({
    default: true,
    description:
      'Count what was just routed as cached before the engine says so, so that equal prompts stay together.',
  }),
  speculativeTTL: Type.String({
    default: '2s',
    pattern: DURATION,
    description: 'How long that lasts where responses are not seen.',
  }),
  truth: Type.Object(
    {
      enabled: Type.Boolean({
        default: true,
        description: 'False believes the events whatever the engines answer.',
      }),
      window: Type.Integer({
        minimum: 2,
        maximum: 1000,
        default: 16,
        description: "How many of an endpoint's last answers count that can tell right from wrong.",
      }),
      maxWrong: Type.Number({
        exclusiveMinimum: 0,
        maximum: 1,
        default: 0.5,
        description: 'Share of the window that was predicted wrong when the events are distrusted.',
      }),
      tolerance: Type.Number({
        minimum: 0,
        maximum: 1,
        default: 0.1,
        description: 'Share of the prompt by which a prediction may differ; a block in any case.',
      }),
      minTokens: Type.Integer({
        minimum: 0,
        default: 0,
        description: 'Prompts of fewer tokens are not judged.',
      }),
      recoverAfter: Type.Integer({
        minimum: 1,
        maximum: 1000,
        default: 8,
        description:
          'Answers in a row that must be predicted right until the events are believed again.',
      }),
    },
    {
      default: {},
      description: "Comparison of what events predict with the engines' `cached_tokens`.",
    },
  ),
}

const Tracked = Type.Object(TRACKED_PARAMS)
export type TrackedParams = Static<typeof Tracked>

/** Params of a producer, which llm-d has dial every endpoint when nothing is said. */
export const TRACKED_PRODUCER_PARAMS = {
  ...TRACKED_PARAMS,
  kvEventsConfig: Type.Object(
    {
      ...EVENTS,
      discoverPods: Type.Boolean({
        default: true,
        description: 'True dials every endpoint, besides binding an address when there is one.',
      }),
    },
    { default: {}, description: 'How events reach the picker.' },
  ),
}

/** What the params say of the engines, from either place in which documents put it. */
export function tokenProcessorOf(params: TrackedParams): Static<typeof TokenProcessor> {
  return { ...params.indexerConfig?.tokenProcessorConfig, ...params.tokenProcessorConfig }
}

/** What a block is worth by the medium that holds it; 1 is a block in GPU memory. */
export function mediumWeightsOf({ indexerConfig }: TrackedParams): Record<string, number> {
  const backends = indexerConfig?.kvCacheBackendConfigs ?? []
  return {
    gpu: 1,
    cpu: 0.8,
    disk: 0.8,
    ...Object.fromEntries(backends.map(({ name, weight }) => [name, weight])),
  }
}

/** Tells the index, and what is asked of it, what the params say. */
export function configureTracked(
  params: TrackedParams,
  { index, matcher }: { readonly index: TrackedPrefixIndex; readonly matcher: PrefixMatcher },
): void {
  const { blockSizeTokens, blockSize, hashSeed } = tokenProcessorOf(params)
  const blockTokens = blockSizeTokens ?? blockSize
  const expected: ExpectedHashing = {
    ...(blockTokens !== undefined && { blockTokens }),
    ...(hashSeed !== undefined && { hashSeed: String(hashSeed) }),
  }
  index.configure({ expected, mediumWeights: mediumWeightsOf(params) })
  matcher.configure({
    speculative: params.speculativeIndexing,
    unseenMs: durationMs(params.speculativeTTL),
    ...(params.truth.enabled && { truth: params.truth }),
  })
}
