/**
 * Which responses are looked at: all (`full`), one in N, none, or (`auto`) all where a plugin of the configuration needs
 * them and none where none does.
 */
export type ResponsesMode = 'auto' | 'full' | 'none' | { readonly sampled: number }

/** What a configuration says of requests beside its plugins. */
export interface RequestPolicy {
  /** `auto` when absent; a flag wins over it. */
  readonly responses?: ResponsesMode
  /** Header, in lower case, in which the gateway gives the cache salt; when absent the salt is the body's alone. */
  readonly saltHeader?: string
  /** `header`: engines have several ranks behind one port, told apart by `DATA_PARALLEL_RANK`. */
  readonly dataParallel?: 'header'
  /** How many, from 2 to 256; ranks are not told apart when absent. */
  readonly dataParallelSize?: number
  /** True tells clients in the header `x-epp-decision` of the response where their request went, and why. */
  readonly decisionHeader?: boolean
}

/** What `responsesMode` reads, for schemas. */
export const RESPONSES_PATTERN = '^(auto|full|none|sampled=[1-9][0-9]*)$'

/** Reads `auto`, `full`, `none` or `sampled=N`; undefined for any other text. */
export function responsesMode(text: string): ResponsesMode | undefined {
  if (text === 'auto' || text === 'full' || text === 'none') return text
  const every = Number(text.slice('sampled='.length))
  const isSampled = new RegExp(RESPONSES_PATTERN).test(text) && Number.isSafeInteger(every)
  return isSampled ? { sampled: every } : undefined
}

/** The text that `responsesMode` reads. */
export function responsesText(mode: ResponsesMode): string {
  return typeof mode === 'string' ? mode : `sampled=${mode.sampled}`
}
