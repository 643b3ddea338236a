import { toText } from './printing.ts'
import { Markup, TemplateError, type Value } from './values.ts'

/** Parts that are shorter together become one: they are found again as fast, and are fewer. */
const SHORT_CHARS = 64

/** A block's text as it grows, in the parts that it is made of: a message's words stay the text that they were. */
export class Output {
  /** None is empty. */
  readonly parts: string[] = []
  readonly #maxChars: number
  #chars = 0

  constructor(maxChars: number) {
    this.#maxChars = maxChars
  }

  /** @throws {TemplateError} when it becomes too long */
  print(value: Value): void {
    const text =
      typeof value === 'string' ? value : value instanceof Markup ? value.text : toText(value)
    if (text === '') return
    this.#chars += text.length
    if (this.#chars > this.#maxChars) throw new TemplateError('a text or list becomes too long')
    const { parts } = this
    const last = parts.length - 1
    if (last >= 0 && parts[last]!.length + text.length <= SHORT_CHARS) parts[last] += text
    else parts.push(text)
  }

  get text(): string {
    return this.parts.length === 1 ? this.parts[0]! : this.parts.join('')
  }
}
