import { isList, TemplateError, type Value } from './values.ts'

/** What one rendering may cost. */
export interface RenderLimits {
  /** Nodes of the template that are evaluated; about 30 million a second. */
  readonly steps: number
  /** UTF-16 units of text that any block may come to. */
  readonly outputChars: number
}

/** Items of one list that a template makes. */
const MAX_ITEMS = 1_000_000

/** One rendering, and what it has cost. Methods throw a `TemplateError` when that is too much. */
export class Run {
  /** What the chat gives, by the numbers of `Names.free`. */
  readonly variables: readonly Value[]
  /** Macros that are being called. */
  calls = 0
  readonly #limits: RenderLimits
  #steps = 0

  constructor(variables: readonly Value[], limits: RenderLimits) {
    this.variables = variables
    this.#limits = limits
  }

  get maxChars(): number {
    return this.#limits.outputChars
  }

  /** Counts a node. */
  step(): void {
    if (++this.#steps > this.#limits.steps) {
      throw new TemplateError('the template takes too many steps')
    }
  }

  /** The value again. */
  bounded<T extends Value>(value: T): T {
    const limit = typeof value === 'string' ? this.#limits.outputChars : MAX_ITEMS
    if ((typeof value === 'string' || isList(value)) && value.length > limit) {
      throw new TemplateError('a text or list becomes too long')
    }
    return value
  }
}
