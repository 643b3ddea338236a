import { type Node, nameOf } from './tree.ts'

/** Where a variable may be: in which block around the one that asks, and its number there. */
export interface Place {
  readonly blocks: number
  readonly slot: number
}

/** The names that one block sets, known before it runs. */
export class Names {
  readonly #outer: Names | undefined
  readonly #free: Map<string, number>
  readonly #slots = new Map<string, number>()
  /** How many loops are around. */
  readonly depth: number

  private constructor(outer: Names | undefined, free: Map<string, number>, depth: number) {
    this.#outer = outer
    this.#free = free
    this.depth = depth
  }

  /** Of a template's outermost block. */
  static of(body: readonly Node[]): Names {
    const names = new Names(undefined, new Map(), 0)
    names.#addSet(body)
    return names
  }

  /** Of a block within. @param own what is set before it runs */
  inner(body: readonly Node[], own: readonly string[] = [], depth = this.depth): Names {
    const names = new Names(this, this.#free, depth)
    for (const name of own) names.#add(name)
    names.#addSet(body)
    return names
  }

  /** How many names there are. */
  get count(): number {
    return this.#slots.size
  }

  /** Names that some block reads and that the chat may give, in the order of their numbers. */
  get free(): readonly string[] {
    return [...this.#free.keys()]
  }

  /** The number of a name that this block sets. */
  slotOf(name: string): number {
    return this.#slots.get(name)!
  }

  /** Everywhere that a name may have been set, the innermost block first. */
  placesOf(name: string): readonly Place[] {
    const places: Place[] = []
    let blocks = 0
    for (let names: Names | undefined = this; names !== undefined; names = names.#outer) {
      const slot = names.#slots.get(name)
      if (slot !== undefined) places.push({ blocks, slot })
      blocks++
    }
    return places
  }

  /** The number of a name among those that the chat may give. */
  freeSlotOf(name: string): number {
    const known = this.#free.get(name)
    if (known !== undefined) return known
    this.#free.set(name, this.#free.size)
    return this.#free.size - 1
  }

  #add(name: string): void {
    if (!this.#slots.has(name)) this.#slots.set(name, this.#slots.size)
  }

  /** Blocks of conditions have no variables of their own. */
  #addSet(body: readonly Node[]): void {
    for (const node of body) {
      if (node.type === 'Set') for (const name of targetNames(node.assignee)) this.#add(name)
      else if (node.type === 'Macro') this.#add(nameOf(node.name))
      else if (node.type === 'If') {
        this.#addSet(node.body)
        this.#addSet(node.alternate)
      }
    }
  }
}

/** The variables that are set by an assignment to a target. */
export function targetNames(target: Node): readonly string[] {
  if (target.type === 'Identifier') return [nameOf(target)]
  return target.type === 'TupleLiteral'
    ? (target.value as readonly Node[]).flatMap(targetNames)
    : []
}
