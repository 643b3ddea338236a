import type { EncodingOptions } from '../framework/request.ts'
import { type Doubt, doubt } from './doubt.ts'

/** Ids that `add_special_tokens` has put around a text. */
export interface SpecialTokens {
  readonly before: number
  readonly after: number
}

/** Ids after cutting; `doubt` when the engine may cut otherwise, and they are whole. */
export interface Truncated {
  readonly ids: Int32Array
  readonly doubt: Doubt | undefined
}

const UNKNOWN_LENGTH = doubt(
  'truncation',
  'the request asks for as many tokens as the model takes, and the prompt is longer or the engines do not say how many that is',
)
const TOO_SHORT = doubt('truncation', 'the request cuts its prompt to less than the special tokens')

/**
 * Cuts ids as the engine does for `truncate_prompt_tokens`: at the left where nothing else is said, special tokens kept; at
 * the side that the request names, special tokens like all others
 * (https://github.com/vllm-project/vllm/blob/v0.32.0/vllm/renderers/params.py, vllm/tokenizers/registry.py).
 *
 * @param contextTokens how many tokens the model takes; undefined when unknown
 */
export function truncated(
  ids: Int32Array,
  special: SpecialTokens,
  { truncateTokens: keep, truncationSide: side }: EncodingOptions,
  contextTokens: number | undefined,
): Truncated {
  if (keep === undefined || ids.length <= keep) return { ids, doubt: undefined }
  if (!Number.isInteger(keep)) return { ids, doubt: TOO_SHORT }
  if (keep < 0) {
    // The newest releases keep one token for the answer.
    const fits = contextTokens !== undefined && ids.length < contextTokens
    return { ids, doubt: fits ? undefined : UNKNOWN_LENGTH }
  }
  if (side === 'right') return { ids: ids.subarray(0, keep), doubt: undefined }
  const { before, after } = side === 'left' ? { before: 0, after: 0 } : special
  const inner = keep - before - after
  if (inner < 1) return { ids, doubt: TOO_SHORT }
  const cut = new Int32Array(keep)
  cut.set(ids.subarray(0, before))
  cut.set(ids.subarray(ids.length - after - inner), before)
  return { ids: cut, doubt: undefined }
}
