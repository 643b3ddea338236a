import { type Static, Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import { durationMs } from '../../framework/duration.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import { definePlugin } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import {
  type ExpectedHashing,
  PREFIX_INDEX,
  PREFIX_MATCHER,
  type PrefixMatch,
  type PrefixMatcher,
  type TrackedPrefixIndex,
} from '../../framework/services.ts'
import { podScores } from './prefix-report.ts'

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

const Params = Type.Object({
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
                Type.Union([Type.String(), Type.Number()], {
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
    Type.Object(
      {
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
                  minimum: 1,
                  maximum: 65535,
                  description:
                    'Port at which the engines send missed events again (replay_endpoint); the rank is added. Not asked when absent.',
                }),
              ),
            },
            { description: 'How endpoints are dialled.' },
          ),
        ),
      },
      { description: 'How events reach the picker.' },
    ),
  ),
  speculativeIndexing: Type.Boolean({
    default: true,
    description:
      'Count what was just routed as cached before the engine says so, so that equal prompts stay together.',
  }),
  speculativeTTL: Type.String({
    default: '2s',
    pattern: '^\\d+(\\.\\d+)?(ms|s|m|h)$',
    description: 'How long that lasts where responses are not seen.',
  }),
})

export type PrecisePrefixCacheParams = Static<typeof Params>

/**
 * Prefers endpoints whose KV cache holds the longest part of the prompt, as the engines' events say.
 *
 * The score is the weighted number of consecutive blocks from the first, divided by those that could match. Without exact
 * token ids, and for endpoints that never sent an event, the match is estimated from this picker's own picks.
 */
export const precisePrefixCacheScorer = definePlugin({
  kind: 'scorer',
  type: 'precise-prefix-cache-scorer',
  description:
    "Prefers endpoints whose KV cache holds the longest part of the prompt (tracked by the engines' events).",
  params: Params,
  inject: { index: PREFIX_INDEX, matcher: PREFIX_MATCHER },
  needs: [PROMPT_TOKENS],
  create: (params, { index, matcher }) => new PrecisePrefixCacheScorer(params, index, matcher),
})

/** What the params say of the engines, from either place in which documents put it. */
export function tokenProcessorOf(params: PrecisePrefixCacheParams): Static<typeof TokenProcessor> {
  return { ...params.indexerConfig?.tokenProcessorConfig, ...params.tokenProcessorConfig }
}

class PrecisePrefixCacheScorer {
  readonly #params: PrecisePrefixCacheParams
  readonly #index: TrackedPrefixIndex
  readonly #matcher: PrefixMatcher
  #found: PrefixMatch | undefined

  constructor(params: PrecisePrefixCacheParams, index: TrackedPrefixIndex, matcher: PrefixMatcher) {
    this.#params = params
    this.#index = index
    this.#matcher = matcher
  }

  activated(): void {
    const { blockSizeTokens, blockSize, hashSeed } = tokenProcessorOf(this.#params)
    const blockTokens = blockSizeTokens ?? blockSize
    const expected: ExpectedHashing = {
      ...(blockTokens !== undefined && { blockTokens }),
      ...(hashSeed !== undefined && { hashSeed: String(hashSeed) }),
    }
    const backends = this.#params.indexerConfig?.kvCacheBackendConfigs ?? []
    this.#index.configure({
      expected,
      mediumWeights: {
        gpu: 1,
        cpu: 0.8,
        ...Object.fromEntries(backends.map(({ name, weight }) => [name, weight])),
      },
    })
    this.#matcher.configure({
      speculative: this.#params.speculativeIndexing,
      unseenMs: durationMs(this.#params.speculativeTTL),
    })
  }

  score(request: InferenceRequest, endpoints: readonly Endpoint[]): Float64Array {
    const match = this.#matcher.find(request, endpoints)?.match
    this.#found = match
    if (!match) return new Float64Array(endpoints.length)
    return match.weighted.map((blocks, i) => blocks / Math.max(1, match.usableBlocks[i]!))
  }

  report(_request: InferenceRequest, endpoints: readonly Endpoint[]) {
    return podScores(endpoints, this.#found)
  }
}
