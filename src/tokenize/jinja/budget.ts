import { isList, TemplateError, type Value } from './values.ts'

/** What one rendering may cost. */
export interface RenderLimits {
  /** Nodes of the template that are evaluated; about 10 million a second. */
  readonly steps: number
  /** UTF-16 units of text that any block may come to. */
  readonly outputChars: number
}

/** Items of one list that a template makes. */
const MAX_ITEMS = 1_000_000

/** What one rendering has cost. Every method throws a `TemplateError` when that is too much. */
export class Budget {
  readonly #limits: RenderLimits
  #steps = 0

  constructor(limits: RenderLimits) {
    this.#limits = limits
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
