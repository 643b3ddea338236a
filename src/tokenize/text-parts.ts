import type { Part, TokenizerParts } from './tokenizer-features.ts'

/** UTF-16 units of the first part, until the next place where it can end: a text that only begins otherwise is mostly known. */
const FIRST_CHARACTERS = 512
/** Each part is twice as long as the one before, up to so many: some milliseconds of a thread. */
const MOST_CHARACTERS = 16_384

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
 * A text in parts, for a tokenizer that takes parts. They end near the beginnings of lines: behind another beginning the
 * same lines are soon in the same parts. Texts that begin alike have the same first parts.
 *
 * @param characters of each of them, about; where absent the first are short and those behind them longer
 */
export function partsOf(text: string, characters?: number): readonly string[] {
  const parts: string[] = []
  const most = characters ?? MOST_CHARACTERS
  let size = characters ?? FIRST_CHARACTERS
  let from = 0
  // Where a part ends is told by what is within twice its length.
  while (text.length - from > size * 2) {
    CUT.lastIndex = lineEnd(text, from + size, from + size * 2)
    const cut = CUT.exec(text)
    if (cut === null) break
    parts.push(text.slice(from, cut.index))
    from = cut.index
    size = Math.min(size * 2, most)
  }
  parts.push(from === 0 ? text : text.slice(from))
  return parts
}

/** Characters before the end of a line by which lines are told apart. */
const LINE_CHARACTERS = 16
/** Lines of which one is chosen. */
const MAX_LINES = 64

/**
 * The end of one of the lines there, chosen by their own characters, so that it is mostly the same one where the lines stand
 * elsewhere; `from` without lines.
 */
function lineEnd(text: string, from: number, to: number): number {
  let chosen = from
  let lowest = Number.POSITIVE_INFINITY
  let at = text.indexOf('\n', from)
  for (let lines = 0; at >= 0 && at < to && lines < MAX_LINES; lines++) {
    let hash = 0
    for (let i = 1; i <= LINE_CHARACTERS; i++) {
      hash = Math.imul(hash ^ text.charCodeAt(at - i), 0x01000193)
    }
    hash ^= hash >>> 15
    if (hash < lowest) {
      lowest = hash
      chosen = at
    }
    at = text.indexOf('\n', at + 1)
  }
  return chosen
}
