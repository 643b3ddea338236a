/** What `@huggingface/jinja` parses a template to; its own types are not exported. */
export interface Node {
  readonly type: string
  readonly value: unknown
  readonly body: readonly Node[]
  readonly test: Node
  readonly alternate: readonly Node[]
  readonly loopvar: Node
  readonly iterable: Node
  readonly defaultBlock: readonly Node[]
  readonly assignee: Node
  readonly name: Node
  readonly args: readonly Node[]
  readonly object: Node
  readonly property: Node
  readonly computed: boolean
  readonly callee: Node
  readonly operator: { readonly value: string }
  readonly left: Node
  readonly right: Node
  readonly operand: Node
  readonly filter: Node
  readonly negate: boolean
  readonly lhs: Node
  readonly argument: Node
  readonly start: Node | undefined
  readonly stop: Node | undefined
  readonly step: Node | undefined
  readonly key: Node
  readonly call: Node
  readonly callerArgs: readonly Node[] | null
  readonly condition: Node
  readonly trueExpr: Node
  readonly falseExpr: Node
}

/** Every node of a tree, each before those below it. */
export function* walk(value: unknown): Iterable<Node> {
  if (typeof value !== 'object' || value === null) return
  if (value instanceof Map) {
    for (const [key, item] of value) {
      yield* walk(key)
      yield* walk(item)
    }
    return
  }
  if (!Array.isArray(value)) yield value as Node
  for (const child of Object.values(value)) yield* walk(child)
}

/** The name that an identifier's node stands for. */
export function nameOf(node: Node): string {
  return node.value as string
}
