import type { Node } from './tree.ts'

/**
 * Names that a block sets after a block within it has read them. Jinja2 decides when it compiles a template which block a
 * name belongs to: such a read finds nothing, even where the name is also a variable of the chat.
 */
export function namesSetLate(program: Node): ReadonlySet<string> {
  const late = new Set<string>()
  new Frame(undefined, late).visitAll(program.body)
  return late
}

/** What one block with variables of its own reads and sets, in the order of the text. */
class Frame {
  readonly #outer: Frame | undefined
  readonly #late: Set<string>
  readonly #own = new Set<string>()
  readonly #readWithin = new Set<string>()

  constructor(outer: Frame | undefined, late: Set<string>, own: readonly Node[] = []) {
    this.#outer = outer
    this.#late = late
    for (const target of own) this.#store(target)
  }

  visitAll(nodes: readonly Node[]): void {
    for (const node of nodes) this.#visit(node)
  }

  #inner(own: readonly Node[] = []): Frame {
    return new Frame(this, this.#late, own)
  }

  #visit(node: Node): void {
    switch (node.type) {
      case 'Set':
        if (node.value === null) this.#inner().visitAll(node.body)
        else this.#visit(node.value as Node)
        this.#store(node.assignee)
        return
      case 'Macro':
        this.#store(node.name)
        this.#visitMacro(node.args, node.body)
        return
      case 'CallStatement':
        this.#visit(node.call)
        this.#visitMacro(node.callerArgs ?? [], node.body)
        return
      case 'For': {
        const isFiltered = node.iterable.type === 'SelectExpression'
        this.#visit(isFiltered ? node.iterable.lhs : node.iterable)
        const inner = this.#inner([node.loopvar])
        if (isFiltered) inner.#visit(node.iterable.test)
        inner.visitAll(node.body)
        this.#inner().visitAll(node.defaultBlock)
        return
      }
      case 'FilterStatement':
        this.#visit(node.filter)
        this.#inner().visitAll(node.body)
        return
      case 'Identifier':
        this.#read(node.value as string)
        return
      default:
        for (const child of Object.values(node)) this.#visitValue(child)
    }
  }

  #visitMacro(parameters: readonly Node[], body: readonly Node[]): void {
    const names = parameters.map((one) => (one.type === 'Identifier' ? one : one.key))
    const inner = this.#inner(names)
    for (const one of parameters) if (one.type !== 'Identifier') inner.#visit(one.value as Node)
    inner.visitAll(body)
  }

  #visitValue(value: unknown): void {
    if (typeof value !== 'object' || value === null) return
    if (value instanceof Map) {
      for (const pair of value) this.#visitValue(pair)
    } else if (Array.isArray(value)) for (const one of value) this.#visitValue(one)
    else if ('type' in value) this.#visit(value as Node)
  }

  #read(name: string): void {
    for (let frame: Frame = this; !frame.#own.has(name) && frame.#outer !== undefined; ) {
      frame = frame.#outer
      frame.#readWithin.add(name)
    }
  }

  #store(target: Node): void {
    if (target.type === 'Identifier') {
      const name = target.value as string
      if (this.#readWithin.has(name)) this.#late.add(name)
      this.#own.add(name)
    } else if (target.type === 'TupleLiteral') {
      for (const one of target.value as readonly Node[]) this.#store(one)
    }
  }
}
