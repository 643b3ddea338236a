import { hasBillingHeader } from './content-parts.ts'
import type { EngineRules, MessagesRules } from './engine-rules.ts'
import { type Fields, isAbsent, isFields } from './fields.ts'
import { refused, Unrenderable } from './unrenderable.ts'

/** What the conversion must know of the model's template. */
export interface TemplateFacts {
  /** Whether a message of the role system may only stand first. */
  readonly mergesLateSystem: boolean
  /** The `reasoning_effort` that stands for "no thinking": `none` where the template knows it. */
  readonly noThinkingEffort: string
}

/**
 * The chat completion that an engine makes of an Anthropic request
 * (https://github.com/vllm-project/vllm/blob/v0.32.0/vllm/entrypoints/anthropic/serving.py).
 *
 * @param facts asked for only when the request depends on it
 */
export function chatOfMessages(
  body: Fields,
  { messagesApi: rules }: EngineRules,
  facts: () => TemplateFacts,
): Fields | Unrenderable {
  if (!Array.isArray(body.messages)) return refused('the request has no messages')
  const given = body.messages as readonly unknown[]
  const late = given.filter((message) => isFields(message) && message.role === 'system')
  if (late.length > 0 && rules.inlineSystem === 'refused') {
    return refused('the engine takes no message of the role system')
  }
  const mergesLate =
    late.length > 0 && (rules.inlineSystem === 'merged' || facts().mergesLateSystem)
  const messages: Fields[] = systemMessages(body.system, mergesLate ? late : [], rules)
  for (const message of given) {
    if (!isFields(message) || typeof message.role !== 'string') {
      return refused('a message has no role')
    }
    const failure = addMessage(message, messages, rules, mergesLate)
    if (failure !== undefined) return failure
  }
  const tools = toolsOf(body.tools, rules)
  if (tools instanceof Unrenderable) return tools
  const effort = effortOf(body, rules, facts)
  return {
    messages,
    ...(tools !== undefined && { tools }),
    ...(rules.kwargs &&
      isFields(body.chat_template_kwargs) && {
        chat_template_kwargs: body.chat_template_kwargs,
      }),
    ...(effort !== undefined && { reasoning_effort: effort }),
  }
}

/** The system prompt, with the texts of `late` messages after it. */
function systemMessages(system: unknown, late: readonly unknown[], rules: MessagesRules): Fields[] {
  const isList = Array.isArray(system)
  const texts = isList
    ? blockTexts(system, rules.billingStripped)
    : typeof system === 'string' && system !== ''
      ? [system]
      : []
  for (const message of late) {
    const text = lateText((message as Fields).content, rules)
    if (text !== '') texts.push(text)
  }
  // Older engines write an empty system message for a list of blocks without text.
  const writesEmpty = rules.inlineSystem === 'refused' && isList && system.length > 0
  if (texts.length === 0 && !writesEmpty) return []
  return [{ role: 'system', content: texts.join('') }]
}

/** Text of a system message that stands among the others. */
function lateText(content: unknown, rules: MessagesRules): string {
  if (typeof content !== 'string') {
    return Array.isArray(content) ? blockTexts(content, true).join('') : ''
  }
  return rules.inlineSystem === 'merged-if-needed' && hasBillingHeader(content) ? '' : content
}

function blockTexts(blocks: readonly unknown[], stripsBilling: boolean): string[] {
  return blocks.flatMap((block) => {
    if (!isFields(block) || block.type !== 'text' || typeof block.text !== 'string') return []
    return block.text === '' || (stripsBilling && hasBillingHeader(block.text)) ? [] : [block.text]
  })
}

function addMessage(
  message: Fields,
  messages: Fields[],
  rules: MessagesRules,
  mergesLate: boolean,
): Unrenderable | undefined {
  const { role, content } = message
  if (role === 'system') {
    const text = mergesLate ? '' : lateText(content, rules)
    if (text !== '') messages.push({ role, content: text })
    return undefined
  }
  if (typeof content === 'string') {
    messages.push({ role, content })
    return undefined
  }
  if (!Array.isArray(content)) return refused('the content of a message is neither text nor blocks')
  const blocks = new BlockReader(role as string, rules, messages)
  for (const block of content as readonly unknown[]) {
    const failure = isFields(block) ? blocks.read(block) : refused('a block is no object')
    if (failure !== undefined) return failure
  }
  const made = blocks.message()
  if (made !== undefined) messages.push(made)
  return undefined
}

/** Gathers the blocks of one message; results of tools become messages of their own at once, before it. */
class BlockReader {
  readonly #role: string
  readonly #rules: MessagesRules
  readonly #messages: Fields[]
  readonly #parts: Fields[] = []
  readonly #calls: Fields[] = []
  readonly #thoughts: string[] = []

  constructor(role: string, rules: MessagesRules, messages: Fields[]) {
    this.#role = role
    this.#rules = rules
    this.#messages = messages
  }

  read(block: Fields): Unrenderable | undefined {
    switch (block.type) {
      case 'text':
        if (typeof block.text === 'string' && block.text !== '')
          this.#parts.push(textPart(block.text))
        return undefined
      case 'image':
        if (isFields(block.source)) this.#parts.push(imagePart(block.source))
        return undefined
      case 'thinking':
        if (!this.#rules.blocks) return refused('the engine takes no thinking')
        if (typeof block.thinking === 'string') this.#thoughts.push(block.thinking)
        return undefined
      case 'redacted_thinking':
      case 'tool_reference':
        return undefined
      case 'tool_use':
        this.#calls.push({
          id: block.id || null,
          type: 'function',
          function: { name: block.name ?? '', arguments: block.input ?? {} },
        })
        return undefined
      case 'tool_result':
        return this.#toolResult(block)
      default:
        return new Unrenderable(
          'messages-blocks',
          'a message has a block that is not followed here',
        )
    }
  }

  /** The message; undefined when the engine leaves it out. */
  message(): Fields | undefined {
    const [first] = this.#parts
    const isText = this.#parts.length === 1 && first!.type === 'text'
    const { dropped } = this.#rules
    const isEmpty = first === undefined && this.#calls.length === 0
    const isBareUser = first === undefined && this.#role === 'user'
    if (dropped === 'empty' ? isEmpty : dropped !== 'none' && isBareUser) return undefined
    return {
      role: this.#role,
      ...(first !== undefined && { content: isText ? first.text : this.#parts }),
      ...(this.#calls.length > 0 && { tool_calls: this.#calls }),
      ...(this.#thoughts.length > 0 && { reasoning: this.#thoughts.join('') }),
    }
  }

  #toolResult(block: Fields): Unrenderable | undefined {
    const { content } = block
    if (this.#role !== 'user' || (!this.#rules.blocks && Array.isArray(content))) {
      // The engine prints it as Python prints its lists.
      return new Unrenderable(
        'messages-blocks',
        "a tool's result stands where it is not followed here",
      )
    }
    const id = (this.#rules.blocks ? block.tool_use_id : block.id) || ''
    const items = Array.isArray(content) ? (content as readonly unknown[]).filter(isFields) : []
    const texts = items.flatMap(({ type, text }) =>
      type === 'text' ? [(text ?? '') as string] : [],
    )
    const text = typeof content === 'string' ? content : texts.join('\n')
    this.#messages.push({ role: 'tool', tool_call_id: id, content: text })
    const images = items.filter(({ type, source }) => type === 'image' && isFields(source))
    if (images.length > 0) {
      const parts = images.map(({ source }) => imagePart(source as Fields))
      this.#messages.push({ role: 'user', content: parts })
    }
    const references = items.flatMap(({ type, tool_name: tool, name }) => {
      const referred = tool || name
      return type === 'tool_reference' && referred ? [{ type, name: referred }] : []
    })
    if (references.length > 0) {
      this.#messages.push({ role: 'tool', tool_call_id: id, content: references })
    }
    return undefined
  }
}

function textPart(text: string): Fields {
  return { type: 'text', text }
}

function imagePart(source: Fields): Fields {
  return { type: 'image_url', image_url: source }
}

function toolsOf(
  tools: unknown,
  rules: MessagesRules,
): readonly Fields[] | undefined | Unrenderable {
  if (isAbsent(tools)) return undefined
  if (!Array.isArray(tools)) return refused('the tools are no list')
  const made: Fields[] = []
  for (const tool of tools as readonly unknown[]) {
    if (!isFields(tool) || !isFields(tool.input_schema))
      return refused('a tool has no input_schema')
    const schema = tool.input_schema
    const { name, description, strict, defer_loading } = tool
    made.push({
      type: 'function',
      function: {
        name,
        description,
        parameters: 'type' in schema ? schema : { ...schema, type: 'object' },
        ...(rules.strict && !isAbsent(strict) && { strict }),
        ...(rules.deferLoading && !isAbsent(defer_loading) && { defer_loading }),
      },
    })
  }
  return made
}

function effortOf(
  body: Fields,
  rules: MessagesRules,
  facts: () => TemplateFacts,
): string | undefined {
  const output = isFields(body.output_config) ? body.output_config : {}
  const effort = rules.effort && typeof output.effort === 'string' ? output.effort : undefined
  const isOff = isFields(body.thinking) && body.thinking.type === 'disabled'
  return rules.thinking && isOff ? facts().noThinkingEffort : effort
}
