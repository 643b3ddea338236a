/** A token that a tokenizer finds in the raw text before anything else (`added_tokens` of tokenizer.json). */
export interface AddedToken {
  readonly id: number
  readonly content: string
  /** Takes the white space before it. */
  readonly lstrip: boolean
  /** Takes the white space after it. */
  readonly rstrip: boolean
  /** Looked for after normalization: then it does not split the raw text. */
  readonly normalized: boolean
}

/**
 * Cuts text at a tokenizer's added tokens. The pieces between them are tokenized independently of one another by every
 * tokenizer of Hugging Face's, so that the ids of a piece can be remembered and used wherever it stands.
 */
export class SegmentSplitter {
  /** Undefined without added tokens. */
  readonly #finder: TokenFinder | undefined
  readonly #tokens = new Map<string, AddedToken>()
  /** Tokens behind which a text can be cut, see `Segments.cuts`. */
  readonly #cutting = new Set<AddedToken>()

  readonly #partsOf: ((text: string) => readonly string[]) | undefined

  /** @param partsOf cuts long text where the tokenizer would cut it too; text is left whole when absent */
  constructor(added: readonly AddedToken[], partsOf?: (text: string) => readonly string[]) {
    this.#partsOf = partsOf
    for (const token of added) {
      if (!token.normalized && token.content !== '') this.#tokens.set(token.content, token)
    }
    const contents = [...this.#tokens.keys()]
    if (contents.length > 0) this.#finder = new TokenFinder(contents)
    for (const token of this.#tokens.values()) {
      const { content, rstrip } = token
      if (!rstrip && !contents.some((other) => goesOn(other, content))) this.#cutting.add(token)
    }
  }

  /** @param start 0, or a cut of a text that begins with the same characters: what is before it is left out */
  split(text: string, start = 0): Segments {
    const pieces: (string | number)[] = []
    const cuts: Cut[] = []
    let from = start
    let trimStart = false
    const pushText = (to: number, trimEnd: boolean): void => {
      let piece = text.slice(from, to)
      if (trimStart) piece = piece.replace(SPACES_BEFORE, '')
      if (trimEnd) piece = piece.slice(0, endWithoutSpaces(piece))
      if (piece === '') return
      if (this.#partsOf === undefined) pieces.push(piece)
      else pieces.push(...this.#partsOf(piece))
    }
    for (let match = this.#next(text, start); match !== null; match = this.#next(text, from)) {
      const token = this.#tokens.get(match[0])!
      pushText(match.index, token.lstrip)
      pieces.push(token.id)
      from = match.index + match[0].length
      trimStart = token.rstrip
      if (this.#cutting.has(token)) cuts.push({ at: from, pieces: pieces.length })
    }
    pushText(text.length, false)
    return { pieces, cuts }
  }

  #next(text: string, from: number): RegExpExecArray | null {
    return this.#finder === undefined ? null : this.#finder.next(text, from)
  }
}

/** Finds added tokens in texts. */
class TokenFinder {
  readonly #pattern: RegExp
  /** The first character of all tokens; undefined where they begin otherwise, or are no longer than that. */
  readonly #first: string | undefined
  /** The codes of what follows it in one token or another. */
  readonly #seconds: ReadonlySet<number>

  /** @param contents at least one */
  constructor(contents: readonly string[]) {
    // The longest of those that begin at one place wins: alternatives are tried in this order.
    const sorted = contents.toSorted((a, b) => b.length - a.length)
    const first = sorted[0]![0]!
    const isCommon = sorted.every((content) => content[0] === first && content.length > 1)
    this.#first = isCommon ? first : undefined
    this.#seconds = new Set(sorted.map((content) => content.charCodeAt(1)))
    this.#pattern = new RegExp(sorted.map(escapePattern).join('|'), isCommon ? 'y' : 'g')
  }

  /** Looks for the first character, many times faster than for the pattern, and tries that where it stands. */
  next(text: string, from: number): RegExpExecArray | null {
    const pattern = this.#pattern
    const first = this.#first
    if (first === undefined) {
      pattern.lastIndex = from
      return pattern.exec(text)
    }
    for (let at = text.indexOf(first, from); at >= 0; at = text.indexOf(first, at + 1)) {
      if (!this.#seconds.has(text.charCodeAt(at + 1))) continue
      pattern.lastIndex = at
      const match = pattern.exec(text)
      if (match !== null) return match
    }
    return null
  }
}

/** A text in pieces. */
export interface Segments {
  /** In order: a string is text still to be tokenized, a number is an added token's id. */
  readonly pieces: readonly (string | number)[]
  /** Places behind added tokens where the text may go on in any way, and the pieces up to there stay the same. */
  readonly cuts: readonly Cut[]
}

export interface Cut {
  /** Where in the text. */
  readonly at: number
  /** Pieces up to there. */
  readonly pieces: number
}

/** True when the longer text has the other one in it and goes on behind it. */
function goesOn(longer: string, content: string): boolean {
  const at = longer.indexOf(content)
  return at >= 0 && at + content.length < longer.length
}

/** What Rust counts as white space (`char::is_whitespace`): with U+0085, without U+FEFF, other than JavaScript. */
const SPACES_BEFORE = /^\p{White_Space}+/u
const SPACE = /\p{White_Space}/u

function endWithoutSpaces(piece: string): number {
  let end = piece.length
  while (end > 0 && SPACE.test(piece[end - 1]!)) end--
  return end
}

function escapePattern(content: string): string {
  return content.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
}
