import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import type { Endpoint } from '../../framework/endpoint.ts'
import type { InferenceRequest } from '../../framework/request.ts'

/** Param of both plugins: the label with the range. */
export const RANGE_LABEL = {
  minLength: 1,
  default: 'llm-d.ai/context-length-range',
  description: 'Label with the prompt lengths that an endpoint is for, in tokens: min-max.',
} as const

/** Prompt lengths in tokens, both ends included. */
export interface LengthRange {
  readonly min: number
  readonly max: number
}

/** What an endpoint's label says; `malformed` when it is not `min-max`, undefined without the label. */
export function rangeOf(endpoint: Endpoint, label: string): LengthRange | 'malformed' | undefined {
  const text = endpoint.labels.get(label)
  if (text === undefined) return undefined
  const [, low, high] = /^(\d{1,15})-(\d{1,15})$/.exec(text.trim()) ?? []
  const range = { min: Number(low), max: Number(high) }
  return range.min <= range.max ? range : 'malformed'
}

/** Tokens of the request's longest prompt, each prompt being a context of its own; undefined when they are not known. */
export function promptLength(request: InferenceRequest): number | undefined {
  const prompts = request.attributes.get(PROMPT_TOKENS)?.prompts
  return prompts?.reduce((longest, { length }) => Math.max(longest, length), 0)
}
