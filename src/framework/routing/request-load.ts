import { PROMPT_TOKENS } from '../attributes.ts'
import type { Endpoint } from '../endpoint.ts'
import type { InferenceRequest } from '../request.ts'
import { PREFIX_FINDING } from '../services.ts'

/** What one request will cost an endpoint, in whole tokens. */
export interface RequestLoad {
  readonly promptTokens: number
  /** Those of them that the endpoint's cache is expected to hold. */
  readonly cachedTokens: number
  /** Expected length of the answer. */
  readonly answerTokens: number
}

/** Tokens of all the request's prompts; 0 without token data. */
export function promptTokensOf(request: InferenceRequest): number {
  const tokens = request.attributes.get(PROMPT_TOKENS)
  return tokens ? tokens.prompts.reduce((sum, { length }) => sum + length, 0) : 0
}

/** The expected length of the answer in whole tokens: the average, at most the client's cap; 0 without a prompt. */
export function answerTokensOf(request: InferenceRequest, meanOutputTokens: number): number {
  if (request.prompt === undefined) return 0
  const mean = Math.round(meanOutputTokens)
  return Math.max(0, Math.min(mean, Math.floor(request.maxOutputTokens ?? mean)))
}

/** Prompt tokens that `endpoint` is expected to hold, as a prefix scorer found; undefined when none looked at it. */
export function cachedTokensAt(request: InferenceRequest, endpoint: Endpoint): number | undefined {
  const finding = request.attributes.get(PREFIX_FINDING)
  const at = finding?.endpoints.indexOf(endpoint) ?? -1
  if (!finding || at < 0) return undefined
  return finding.match.blocks[at]! * finding.match.blockTokens[at]!
}

/** What the request will cost `endpoint`, as far as is known at the pick. */
export function loadOf(
  request: InferenceRequest,
  endpoint: Endpoint,
  meanOutputTokens: number,
): RequestLoad {
  const promptTokens = promptTokensOf(request)
  return {
    promptTokens,
    cachedTokens: Math.min(promptTokens, cachedTokensAt(request, endpoint) ?? 0),
    answerTokens: answerTokensOf(request, meanOutputTokens),
  }
}
