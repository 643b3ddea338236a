/** How a character of a word was written; `expanded` is a part of what a variable stands for. */
export type Quoting = 'bare' | 'single' | 'double' | 'escaped' | 'expanded'

/**
 * One word of a command line, with the place in the original text of each of its characters, through any number of
 * shells.
 */
export interface Word {
  readonly value: string
  /** Which of the original texts it stands in: its position among them. */
  readonly source: number
  /** For each UTF-16 unit of `value` its offset in that text. */
  readonly at: readonly number[]
  /** For each UTF-16 unit of `value`. */
  readonly quoting: readonly Quoting[]
  /** Where the word with its quotes begins and ends (exclusive) in that text. */
  readonly start: number
  readonly end: number
  /** True when a part of the value can only be known by running something. */
  readonly unknown: boolean
}

/** What a variable stands for; `known` is false when that cannot be told, and the value then stands for it in messages. */
export interface Expansion {
  readonly value: string
  readonly known: boolean
}

/** What a variable stands for. */
export type Variables = (name: string) => Expansion

/** A word that was not written in a shell. */
export function plainWord(value: string, source: number): Word {
  return {
    value,
    source,
    at: Array.from({ length: value.length }, (_, i) => i),
    quoting: new Array<Quoting>(value.length).fill('bare'),
    start: 0,
    end: value.length,
    unknown: false,
  }
}

/** The part of a word from `from` on, between the same `start` and `end`. */
export function wordFrom(word: Word, from: number): Word {
  return {
    ...word,
    value: word.value.slice(from),
    at: word.at.slice(from),
    quoting: word.quoting.slice(from),
  }
}

/** Linux takes no longer argument (MAX_ARG_STRLEN); variables that stand for each other could make one without end. */
export const MAX_WORD_CHARACTERS = 128 * 1024

/** Puts a word together, character by character. */
export class WordBuilder {
  readonly #script: Word
  readonly #start: number
  readonly #at: number[] = []
  readonly #quoting: Quoting[] = []
  #value = ''
  #unknown = false

  /** @param start offset in the value of `script`, in which the word stands */
  constructor(script: Word, start: number) {
    this.#script = script
    this.#start = start
  }

  get value(): string {
    return this.#value
  }

  /** True when the value so far was written without quotes. */
  get bare(): boolean {
    return this.#quoting.every((each) => each === 'bare')
  }

  /** One character that stands at `offset`. */
  add(character: string, offset: number, quoting: Quoting): void {
    this.#value += character
    const expanded = this.#script.quoting[offset] === 'expanded'
    this.#at.push(this.#script.at[offset]!)
    this.#quoting.push(expanded ? 'expanded' : quoting)
    if (expanded && this.#script.unknown) this.#unknown = true
  }

  /** What an expansion at `offset` stands for; one that is too long is left out, and the word is then not known. */
  expand({ value, known }: Expansion, offset: number): void {
    if (this.#value.length + value.length > MAX_WORD_CHARACTERS) {
      this.#unknown = true
      return
    }
    for (const unit of value.split('')) this.add(unit, offset, 'expanded')
    if (!known) this.#unknown = true
  }

  /** @param end exclusive */
  build(end: number): Word {
    const { source, at } = this.#script
    return {
      value: this.#value,
      source,
      at: this.#at,
      quoting: this.#quoting,
      start: at[this.#start] ?? 0,
      end: (at[end - 1] ?? 0) + 1,
      unknown: this.#unknown,
    }
  }
}
