import type { EngineRules } from './engine-rules.ts'

/** The shape in which a template wants a message's content. */
export type ContentFormat = 'string' | 'openai'

/** A node of a parsed template (the `@huggingface/jinja` tree). */
interface Node {
  readonly type?: unknown
  readonly [field: string]: unknown
}

/**
 * Whether an engine gives a template the parts of a message's content as a list, which it does when the template is seen to
 * go through them, or as one text (`_detect_content_format` of
 * https://github.com/vllm-project/vllm/blob/v0.32.0/vllm/renderers/hf.py and of vllm/entrypoints/chat_utils.py before).
 *
 * @param program the parsed template
 * @param loops which loops count: `direct` those over `message.content` itself, `named` also those over a variable named
 *   `content`, `macros` also those over a macro's parameter that a message's content is passed as, a variable named
 *   `content` then only outside of macros
 */
export function contentFormatOf(
  program: unknown,
  loops: EngineRules['contentLoops'],
): ContentFormat {
  const nodes = [...walk(program)]
  const messages = messageNames(nodes)
  // The engine gives up where a loop over messages has several variables.
  if (messages === undefined) return 'string'
  const { inMacro, parameters } = loops === 'macros' ? macroLoops(nodes, messages) : NO_MACROS
  for (const loop of nodes.filter(({ type }) => type === 'For')) {
    const over = iterated(loop)
    const name = nameOf(over)
    const counts =
      messages.some((message) => accesses(over, message, 'content')) ||
      (name !== undefined && parameters.get(loop)?.has(name) === true) ||
      (loops !== 'direct' && name === 'content' && !inMacro.has(loop))
    if (counts) return nameOf(loop.loopvar) === undefined ? 'string' : 'openai'
  }
  return 'string'
}

interface MacroLoops {
  readonly inMacro: ReadonlySet<Node>
  /** By loop inside a macro: the parameters of that macro that are given a message's content. */
  readonly parameters: ReadonlyMap<Node, ReadonlySet<string>>
}

const NO_MACROS: MacroLoops = { inMacro: new Set(), parameters: new Map() }

function macroLoops(nodes: readonly Node[], messages: readonly string[]): MacroLoops {
  const inMacro = new Set<Node>()
  const parameters = new Map<Node, ReadonlySet<string>>()
  const isContent = (node: unknown): boolean =>
    messages.some((message) => accesses(node, message, 'content'))
  for (const macro of nodes.filter(({ type }) => type === 'Macro')) {
    const names = (macro.args as readonly Node[]).map(parameterName)
    const given = new Set<string>()
    for (const call of nodes) {
      if (call.type !== 'CallExpression' || nameOf(call.callee) !== nameOf(macro.name)) continue
      for (const [i, argument] of (call.args as readonly Node[]).entries()) {
        const isNamed = argument.type === 'KeywordArgumentExpression'
        const name = isNamed ? nameOf(argument.key) : names[i]
        const value = isNamed ? argument.value : argument
        if (name !== undefined && names.includes(name) && isContent(value)) given.add(name)
      }
    }
    for (const loop of walk(macro.body)) {
      if (loop.type !== 'For') continue
      inMacro.add(loop)
      if (given.size > 0) parameters.set(loop, given)
    }
  }
  return { inMacro, parameters }
}

/** A parameter of a macro, with or without a default. */
function parameterName(parameter: Node): string | undefined {
  return parameter.type === 'KeywordArgumentExpression' ? nameOf(parameter.key) : nameOf(parameter)
}

/** Names that stand for one message; undefined when they cannot be told. */
function messageNames(nodes: readonly Node[]): string[] | undefined {
  const lists = ['messages']
  for (const list of lists) {
    for (const node of nodes) {
      if (node.type !== 'Set' || node.value === null || !accesses(node.value, list)) continue
      const name = nameOf(node.assignee)
      if (name === undefined) return undefined
      if (!lists.includes(name)) lists.push(name)
    }
  }
  const names: string[] = []
  for (const loop of nodes.filter(({ type }) => type === 'For')) {
    if (!lists.some((list) => accesses(iterated(loop), list))) continue
    const name = nameOf(loop.loopvar)
    if (name === undefined) return undefined
    names.push(name)
  }
  return names
}

/** What a loop goes through, a condition after it left out. */
function iterated(loop: Node): unknown {
  const iterable = loop.iterable as Node
  return iterable.type === 'SelectExpression' ? iterable.lhs : iterable
}

/** True for the variable itself, or its attribute `key`; filters, tests and slices around it do not matter. */
function accesses(value: unknown, variable: string, key?: string): boolean {
  const node = value as Node
  if (node.type === 'FilterExpression' || node.type === 'TestExpression') {
    return accesses(node.operand, variable, key)
  }
  if (node.type === 'MemberExpression') {
    const property = node.property as Node
    if (property.type === 'SliceExpression') return accesses(node.object, variable, key)
    const isKey =
      node.computed === true
        ? property.type === 'StringLiteral' && property.value === key
        : nameOf(property) === key
    return key !== undefined && isKey && nameOf(node.object) === variable
  }
  return key === undefined && nameOf(node) === variable
}

function nameOf(value: unknown): string | undefined {
  const node = value as Node | undefined
  return node?.type === 'Identifier' ? (node.value as string) : undefined
}

function* walk(value: unknown): Iterable<Node> {
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
