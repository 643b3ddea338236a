import type { Value } from './values.ts'

/** Variables of one block, and those of the blocks around it. */
export class Scope {
  readonly #variables = new Map<string, Value>()
  readonly #outer: Scope | undefined
  /** How many loops are around. */
  readonly depth: number

  constructor(outer?: Scope, depth = outer?.depth ?? 0) {
    this.#outer = outer
    this.depth = depth
  }

  get(name: string): Value {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.#outer) {
      if (scope.#variables.has(name)) return scope.#variables.get(name)
    }
    return undefined
  }

  set(name: string, value: Value): void {
    this.#variables.set(name, value)
  }
}
