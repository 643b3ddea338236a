import type { Tokenizer } from '@huggingface/tokenizers'
import type { BytePairs } from './byte-pairs.ts'
import type { TokenizerParts } from './tokenizer-features.ts'

/** What the library's model of byte pairs looks pairs up in, by their JSON. */
interface Ranks {
  get(pair: string): number | undefined
}

/**
 * Frees what the library keeps of a tokenizer's file and needs only while it is made, and its table of ranks where `pairs`
 * has the same: of a vocabulary of 150,000 half a million objects, which V8 would look at each time that it marks its heap.
 *
 * @param parts of the file from which `tokenizer` was made
 */
export function dropTables(
  parts: TokenizerParts,
  tokenizer: Tokenizer,
  pairs: BytePairs | undefined,
): void {
  if (parts.model) Object.assign(parts.model, { vocab: undefined, merges: undefined })
  const model = tokenizer.model as { merges?: unknown; bpe_ranks?: Ranks } | undefined
  if (model?.merges === undefined) return
  model.merges = undefined
  if (pairs !== undefined) model.bpe_ranks = { get: (pair) => rankOf(pairs, pair) }
}

function rankOf(pairs: BytePairs, pair: string): number | undefined {
  const [left, right] = JSON.parse(pair) as [string, string]
  return pairs.rankOf(left, right)
}
