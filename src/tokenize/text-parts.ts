import type { Part, TokenizerParts } from './tokenizer-features.ts'

/** UTF-16 units of a part, until the next place where it can end: some ten milliseconds of a thread. */
const PART_CHARACTERS = 16_384

/** Letters that NFC leaves as they are, whatever stands beside them: ASCII's, kana, Chinese, Hangul. */
const LETTER = '[A-Za-z\\u3041-\\u3096\\u30a1-\\u30fa\\u4e00-\\u9fff\\uac00-\\ud7a3]'

/**
 * A sign between two such letters. Where a pattern of PATTERNS meets it, a word ends before it and the next one begins with
 * it, whatever else the text has; byte pairs do not reach from one word into another.
 */
const CUT = new RegExp(`(?<=${LETTER})[ ,.;:，。、；：](?=${LETTER})`, 'g')

/** The patterns by which Qwen and Llama 3 cut text into words. */
const PATTERNS: readonly string[] = ['\\p{N}', '\\p{N}{1,3}'].map(
  (digits) =>
    `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
)

/** True for a tokenizer that gives a text the ids of its parts, one after the other. */
export function takesParts(parts: TokenizerParts): boolean {
  const { normalizer, pre_tokenizer: words, model, added_tokens: added = [] } = parts
  if (normalizer && normalizer.type !== 'NFC') return false
  // Those that are looked for after normalization may reach over a cut.
  if (added.some(({ normalized }) => normalized === true)) return false
  const [split, bytes, ...others] =
    words?.type === 'Sequence' ? (words.pretokenizers as readonly Part[]) : []
  const source = (split?.pattern as { readonly Regex?: unknown } | undefined)?.Regex
  return (
    others.length === 0 &&
    split?.type === 'Split' &&
    split.behavior === 'Isolated' &&
    split.invert === false &&
    PATTERNS.includes(source as string) &&
    bytes?.type === 'ByteLevel' &&
    bytes.use_regex === false &&
    bytes.add_prefix_space !== true &&
    model?.type === 'BPE'
  )
}

/**
 * A text in parts of about so many characters, for a tokenizer that takes parts. Texts that begin alike have the same first
 * parts.
 */
export function partsOf(text: string, characters: number = PART_CHARACTERS): readonly string[] {
  const parts: string[] = []
  let from = 0
  while (text.length - from > characters) {
    CUT.lastIndex = from + characters
    const cut = CUT.exec(text)
    if (cut === null) break
    parts.push(text.slice(from, cut.index))
    from = cut.index
  }
  parts.push(from === 0 ? text : text.slice(from))
  return parts
}
