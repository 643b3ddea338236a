import { type Static, Type } from 'typebox'
import type { RoutedPrefixIndex } from '../../framework/services.ts'

/** Tokens per block where `blockSizeTokens` says none; engines may say more. */
export const LEAST_BLOCK_TOKENS = 64

/** Params of whatever describes the index of what was sent where. */
export const ROUTED_PARAMS = {
  autoTune: Type.Boolean({
    default: true,
    description:
      "Take the block size from the engine's metrics (at least 64 tokens) when it says so.",
  }),
  blockSizeTokens: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Tokens per block; setting it turns autoTune off. 64 when nothing else says.',
    }),
  ),
  maxPrefixTokensToMatch: Type.Integer({
    minimum: 0,
    default: 131072,
    description: 'Prompt tokens beyond this are not matched; 0 matches all.',
  }),
  lruCapacityPerServer: Type.Integer({
    minimum: 1,
    default: 31250,
    description: 'Blocks remembered per endpoint; the longest unused go first.',
  }),
}

const Routed = Type.Object(ROUTED_PARAMS)

/** Tells the index what the params say. */
export function configureRouted(params: Static<typeof Routed>, index: RoutedPrefixIndex): void {
  index.configure({
    blockTokens: params.blockSizeTokens ?? (params.autoTune ? undefined : LEAST_BLOCK_TOKENS),
    maxPrefixTokens: params.maxPrefixTokensToMatch || Number.POSITIVE_INFINITY,
    blocksPerEndpoint: params.lruCapacityPerServer,
  })
}
