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
  readonly #pattern: RegExp | undefined
  readonly #tokens = new Map<string, AddedToken>()

  constructor(added: readonly AddedToken[]) {
    for (const token of added) {
      if (!token.normalized && token.content !== '') this.#tokens.set(token.content, token)
    }
    // The longest of those that begin at one place wins: alternatives are tried in this order.
    const contents = [...this.#tokens.keys()].sort((a, b) => b.length - a.length)
    if (contents.length > 0) this.#pattern = new RegExp(contents.map(escapePattern).join('|'), 'g')
  }

  /** Pieces in order: a string is text still to be tokenized, a number is an added token's id. */
  split(text: string): (string | number)[] {
    const pieces: (string | number)[] = []
    let from = 0
    let trimStart = false
    const pushText = (to: number, trimEnd: boolean): void => {
      let piece = text.slice(from, to)
      if (trimStart) piece = piece.replace(SPACES_BEFORE, '')
      if (trimEnd) piece = piece.slice(0, endWithoutSpaces(piece))
      if (piece !== '') pieces.push(piece)
    }
    if (this.#pattern !== undefined) {
      for (const match of text.matchAll(this.#pattern)) {
        const token = this.#tokens.get(match[0])!
        pushText(match.index, token.lstrip)
        pieces.push(token.id)
        from = match.index + match[0].length
        trimStart = token.rstrip
      }
    }
    pushText(text.length, false)
    return pieces
  }
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
