import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Template } from '@huggingface/jinja'

/** Names of tokens in tokenizer_config.json that templates may read. */
const TOKEN_NAMES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const

/** The shape in which a template wants a message's content. */
export type ContentFormat = 'string' | 'openai'

/**
 * The chat template of one model, as mounted by the operator: `chat_template.jinja`, else `chat_template` of
 * tokenizer_config.json, which may be a list of named ones.
 */
export class ChatTemplate {
  readonly #default: NamedTemplate
  readonly #tools: NamedTemplate | undefined
  readonly #tokens: Readonly<Record<string, string>>

  private constructor(
    templates: ReadonlyMap<string, NamedTemplate>,
    first: NamedTemplate,
    tokens: Readonly<Record<string, string>>,
  ) {
    this.#default = first
    this.#tools = templates.get('tool_use')
    this.#tokens = tokens
  }

  /**
   * @returns undefined when the model has no chat template
   * @throws when the template does not parse
   */
  static read(folder: string, config: Readonly<Record<string, unknown>>): ChatTemplate | undefined {
    const templates = new Map<string, NamedTemplate>()
    for (const [name, text] of templateTexts(folder, config)) {
      templates.set(name, new NamedTemplate(text))
    }
    const first = templates.get('default')
    if (first === undefined) return undefined
    const tokens: Record<string, string> = {}
    for (const name of TOKEN_NAMES) {
      const value = config[name]
      const content =
        typeof value === 'object' ? (value as { content?: unknown } | null)?.content : value
      if (typeof content === 'string') tokens[name] = content
    }
    return new ChatTemplate(templates, first, tokens)
  }

  contentFormat(withTools: boolean): ContentFormat {
    return this.#pick(withTools).contentFormat
  }

  /** True when the template's text has the word in it: else a variable of that name cannot matter. */
  mentions(word: string, withTools: boolean): boolean {
    return this.#pick(withTools).text.includes(word)
  }

  /** @throws when the template refuses the messages or does not get what it needs */
  render(variables: Readonly<Record<string, unknown>>, withTools: boolean): string {
    return this.#pick(withTools).template.render({ ...this.#tokens, ...variables })
  }

  #pick(withTools: boolean): NamedTemplate {
    return (withTools ? this.#tools : undefined) ?? this.#default
  }
}

class NamedTemplate {
  readonly text: string
  readonly template: Template
  readonly contentFormat: ContentFormat

  constructor(text: string) {
    this.text = text
    this.template = new Template(text)
    this.contentFormat = loopsOverContent(this.template.parsed) ? 'openai' : 'string'
  }
}

function* templateTexts(
  folder: string,
  config: Readonly<Record<string, unknown>>,
): Iterable<readonly [string, string]> {
  try {
    yield ['default', readFileSync(join(folder, 'chat_template.jinja'), 'utf8')]
    return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const entry = config.chat_template
  if (typeof entry === 'string') yield ['default', entry]
  if (!Array.isArray(entry)) return
  for (const item of entry as readonly { name?: unknown; template?: unknown }[]) {
    if (typeof item.name === 'string' && typeof item.template === 'string') {
      yield [item.name, item.template]
    }
  }
}

interface Node {
  readonly type?: unknown
  readonly [field: string]: unknown
}

/**
 * Whether a template goes through the parts of a message's content: then the engine gives it a list of parts, else text
 * (https://github.com/vllm-project/vllm/blob/main/vllm/entrypoints/chat_utils.py, `_detect_content_format`).
 */
function loopsOverContent(program: unknown): boolean {
  const nodes = [...walk(program)]
  const names = new Set<unknown>()
  for (const node of nodes) {
    if (node.type !== 'Set' || !readsContent(node.value as Node | null, names)) continue
    const assignee = node.assignee as Node
    if (assignee.type === 'Identifier') names.add(assignee.value)
  }
  return nodes.some((node) => node.type === 'For' && readsContent(node.iterable as Node, names))
}

/** `message.content`, `message['content']`, or a name that one of them was assigned to. */
function readsContent(node: Node | null, names: ReadonlySet<unknown>): boolean {
  if (node?.type === 'Identifier') return names.has(node.value)
  return node?.type === 'MemberExpression' && (node.property as Node).value === 'content'
}

function* walk(value: unknown): Iterable<Node> {
  if (typeof value !== 'object' || value === null) return
  if (!Array.isArray(value)) yield value as Node
  for (const child of Object.values(value)) yield* walk(child)
}
