import type { Part, TokenizerParts } from './tokenizer-features.ts'

/** How ByteLevel cuts text where it does so itself (GPT-2's rule, as Python's `tokenizers` has it). */
const BYTE_LEVEL_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/**
 * The same tokenizer with explicit patterns in the place of two pre-tokenizers whose own ones the library reads as
 * JavaScript does: there U+0085 is no white space, U+FEFF is, and only ASCII has digits.
 */
export function preparedTokenizer<T extends TokenizerParts>(file: T): T {
  const { pre_tokenizer: part } = file
  return part === null || part === undefined ? file : { ...file, pre_tokenizer: prepared(part) }
}

function prepared(part: Part): Part {
  switch (part.type) {
    case 'Sequence':
      return { ...part, pretokenizers: (part.pretokenizers as readonly Part[]).map(prepared) }
    case 'ByteLevel':
      // With a prefix space the order of the two steps would matter.
      if (part.use_regex === false || part.add_prefix_space === true) return part
      return sequence(split(BYTE_LEVEL_PATTERN), { ...part, use_regex: false })
    case 'Digits':
      return split(part.individual_digits === true ? '\\p{N}' : '\\p{N}+')
    default:
      return part
  }
}

function sequence(...parts: readonly Part[]): Part {
  return { type: 'Sequence', pretokenizers: parts }
}

function split(pattern: string): Part {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false }
}
