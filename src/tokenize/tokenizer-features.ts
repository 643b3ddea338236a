/** A part of a tokenizer.json: a normalizer, pre-tokenizer or model. */
export interface Part {
  readonly type?: unknown
  readonly [field: string]: unknown
}

/** What a tokenizer.json says that decides whether its ids can be told. */
export interface TokenizerParts {
  readonly normalizer?: Part | null
  readonly pre_tokenizer?: Part | null
  readonly model?: Part | null
  readonly added_tokens?: readonly {
    readonly single_word?: boolean
    readonly normalized?: boolean
  }[]
}

/** Normalizers that give what Python's `tokenizers` gives, as compared on generated texts of every script. */
const NORMALIZERS = new Set(['NFC', 'NFD', 'NFKC', 'Lowercase', 'Prepend', 'Replace'])

/** The same of pre-tokenizers. */
const PRE_TOKENIZERS = new Set(['ByteLevel', 'Digits', 'Metaspace', 'Split'])

/**
 * The first feature of a tokenizer with which ids were seen to differ from Python's, or were not compared; undefined where
 * there is none.
 */
export function unfollowedFeature(parts: TokenizerParts): string | undefined {
  if (parts.added_tokens?.some((token) => token.single_word === true) === true) {
    return 'added tokens that match whole words only'
  }
  const normalizers = [...flat(parts.normalizer, 'normalizers')]
  const changesSpaces = normalizers.some(({ type }) => type === 'Prepend' || type === 'Replace')
  if (changesSpaces && parts.added_tokens?.some((token) => token.normalized === true) === true) {
    return 'added tokens that are looked for in text with other spaces'
  }
  for (const part of normalizers) {
    if (!NORMALIZERS.has(part.type as string)) return `the normalizer ${part.type}`
    if (hasUnfollowedPattern(part)) return `the pattern of the normalizer ${part.type}`
  }
  for (const part of flat(parts.pre_tokenizer, 'pretokenizers')) {
    if (!PRE_TOKENIZERS.has(part.type as string)) return `the pre-tokenizer ${part.type}`
    if (hasUnfollowedPattern(part)) return `the pattern of the pre-tokenizer ${part.type}`
    if (part.type === 'Metaspace' && part.prepend_scheme === undefined) {
      return 'a Metaspace without prepend_scheme'
    }
    if (part.type === 'ByteLevel' && part.use_regex !== false && part.add_prefix_space === true) {
      return 'a ByteLevel that cuts words and adds a space before them'
    }
  }
  return unfollowedModel(parts.model ?? {})
}

function unfollowedModel(model: Part): string | undefined {
  // Older files of byte pairs name no type.
  if (model.type !== 'BPE' && model.type !== 'Unigram' && model.type !== undefined) {
    return `the model ${model.type}`
  }
  if (model.type === 'Unigram' && model.byte_fallback === true) return 'Unigram with byte_fallback'
  const options = ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix'] as const
  return options.find((name) => Boolean(model[name]))
}

/** A part, or those of a sequence. */
function* flat(part: Part | null | undefined, members: string): Iterable<Part> {
  if (part === null || part === undefined) return
  if (part.type !== 'Sequence') yield part
  else for (const one of part[members] as readonly Part[]) yield* flat(one, members)
}

/** Syntax of Oniguruma that JavaScript lacks or reads otherwise. */
const FOREIGN = /\\[hHKXRGAzZ]|\[\[:|&&|\(\?>|\(\?[a-z]*[mx]/

/** Possessive quantifiers after which giving back would not let the rest match: they are as good as greedy ones. */
const HARMLESS = ['[^\\r\\n\\p{L}\\p{N}]?+\\p{L}', '[^\\s\\p{L}\\p{N}]++[\\r\\n]']

function hasUnfollowedPattern(part: Part): boolean {
  const source = (part.pattern as { Regex?: unknown } | undefined)?.Regex
  if (typeof source !== 'string') return false
  if (FOREIGN.test(source)) return true
  const rest = HARMLESS.reduce((text, harmless) => text.replaceAll(harmless, 'x'), source)
  const plain = rest
    .replace(/\\[pP]\{[^}]*\}/g, 'x')
    .replace(/\\./g, 'x')
    .replace(/\[[^\]]*\]/g, 'x')
  return /[+*?}]\+(?!\||$)/.test(plain)
}
