import { type SideTable, sideTable } from '../../framework/side-table.ts'
import { type Doubt, doubt } from '../doubt.ts'
import type { ContentFormat } from './content-format.ts'
import { contentOf, type MediaForm } from './content-parts.ts'
import type { EngineRules } from './engine-rules.ts'
import { type Fields, isAbsent, isFields, truthOf } from './fields.ts'
import { checkedTool, toolCallVariable, toolVariable } from './tool-variables.ts'
import { refused, Unrenderable } from './unrenderable.ts'

/** A chat as a template's variables. */
export interface ChatVariables {
  readonly variables: Readonly<Record<string, unknown>>
  /** The messages among them, as the engine's rules leave them. */
  readonly messages: readonly Fields[]
  /** Whether what the template writes after the final message is dropped. */
  readonly continuesFinal: boolean
  readonly hasMedia: boolean
  /** Why the engine may render something else; undefined when it renders the same. */
  readonly doubt: Doubt | undefined
}

/** What is known of the template, and how media are to be put. */
export interface VariablesOptions {
  readonly format: ContentFormat
  /** Whether the template names the role developer. */
  readonly namesDeveloper: boolean
  readonly media: MediaForm
  /** False where the engine has made the messages itself: then their fields stand in the order given. */
  readonly isChecked: boolean
}

/** Arguments of the rendering itself that `chat_template_kwargs` can change, with effects that are not followed. */
const ARGUMENTS = new Set([
  ...['messages', 'conversation', 'tokenize', 'padding', 'truncation', 'max_length'],
  ...['return_tensors', 'return_dict', 'return_assistant_tokens_mask', 'tokenizer_kwargs'],
])

const OWN_TEMPLATE = new Unrenderable(
  'own-template',
  'the request brings its own chat template, which trustRequestChatTemplate of token-producer does not allow',
)

/**
 * Prepares a chat completion's body for a template as vLLM does
 * (https://github.com/vllm-project/vllm/blob/v0.32.0/vllm/renderers/chat_utils.py, vllm/entrypoints/chat_utils.py before).
 *
 * @param body its numbers as `parsePythonJson` leaves them
 */
export function chatVariables(
  body: Fields,
  rules: EngineRules,
  options: VariablesOptions,
): ChatVariables | Unrenderable {
  const kwargs = kwargsOf(body.chat_template_kwargs)
  if (!isAbsent(kwargs.chat_template)) return OWN_TEMPLATE
  if (!Array.isArray(body.messages) || body.messages.length === 0) {
    return refused('the request has no messages')
  }
  const reader = new MessageReader(rules, options)
  const read: Fields[] = []
  for (const message of body.messages as readonly unknown[]) {
    const one = reader.message(message)
    if (one instanceof Unrenderable) return one
    read.push(one)
  }
  const messages = renameDeveloper(read, rules, options.namesDeveloper)
  const tools: Fields[] = []
  for (const tool of Array.isArray(body.tools) ? body.tools : []) {
    const variable = toolVariable(tool, rules)
    if (variable instanceof Unrenderable) return variable
    tools.push(variable)
  }
  const variables = withKwargs(body, kwargs, Array.isArray(body.tools) ? tools : null, rules)
  if (truthOf(body.continue_final_message, false) && truthOf(body.add_generation_prompt, false)) {
    return refused('continue_final_message excludes add_generation_prompt')
  }
  const continuesFinal = truthOf(variables.continue_final_message, false)
  const startsAnswer = truthOf(variables.add_generation_prompt, true) && !continuesFinal
  delete variables.continue_final_message
  variables.messages = messages
  variables.add_generation_prompt = startsAnswer
  return {
    variables,
    messages,
    continuesFinal,
    hasMedia: reader.hasMedia,
    doubt: reader.doubt ?? kwargsDoubt(kwargs),
  }
}

function kwargsOf(kwargs: unknown): Fields {
  if (kwargs instanceof Map) return Object.fromEntries(kwargs)
  return isFields(kwargs) ? kwargs : {}
}

function kwargsDoubt(kwargs: Fields): Doubt | undefined {
  if (!Object.keys(kwargs).some((name) => ARGUMENTS.has(name))) return undefined
  return doubt('template-kwargs', 'chat_template_kwargs replaces an argument of the engine')
}

/** The request's own fields and `chat_template_kwargs`, of which one replaces the other. Never has a prototype's name. */
function withKwargs(
  body: Fields,
  kwargs: Fields,
  tools: readonly Fields[] | null,
  rules: EngineRules,
): Record<string, unknown> {
  const own = {
    add_generation_prompt: truthOf(body.add_generation_prompt, true),
    continue_final_message: truthOf(body.continue_final_message, false),
    documents: body.documents ?? null,
  }
  const effort = effortVariables(body, kwargs, rules)
  if (rules.kwargsReplaceFields) return { tools, ...own, ...kwargs, ...effort }
  const given = Object.entries(kwargs).filter(([, value]) => !isAbsent(value) && value !== 'auto')
  const { documents, ...flags } = own
  return {
    tools,
    documents: null,
    ...Object.fromEntries(given),
    ...flags,
    ...(documents !== null && { documents }),
    ...effort,
  }
}

function effortVariables(body: Fields, kwargs: Fields, rules: EngineRules): Fields {
  const effort = body.reasoning_effort ?? null
  if (rules.reasoningEffort === 'always') return { reasoning_effort: effort }
  if (rules.reasoningEffort === 'ignored' || effort === null) return {}
  const switches = rules.reasoningEffort === 'switches-thinking' && !('enable_thinking' in kwargs)
  return { reasoning_effort: effort, ...(switches && { enable_thinking: effort !== 'none' }) }
}

/** Developers' messages become system messages, all of which are joined to one at the front. */
function renameDeveloper(
  messages: readonly Fields[],
  rules: EngineRules,
  namesDeveloper: boolean,
): readonly Fields[] {
  const hasDeveloper = messages.some(({ role }) => role === 'developer')
  if (!rules.developerToSystem || namesDeveloper || !hasDeveloper) return messages
  const renamed = messages.map((message) => {
    if (message.role !== 'developer') return message
    const { tools: _tools, ...rest } = message
    return { ...rest, role: 'system' }
  })
  if (renamed.findLastIndex(({ role }) => role === 'system') === 0) return renamed
  const texts: string[] = []
  for (const { role, content } of renamed) {
    if (role !== 'system') continue
    const text = Array.isArray(content)
      ? (content as readonly Fields[])
          .flatMap((part) => ('text' in part ? [part.text] : []))
          .join('\n')
      : (content as string)
    if (text !== '') texts.push(text)
  }
  const joined = { role: 'system', content: texts.join('\n\n') }
  return [joined, ...renamed.filter(({ role }) => role !== 'system')]
}

/** A message as a template gets it, and what makes it uncertain. */
interface ReadMessage {
  readonly fields: Fields
  readonly doubt: Doubt | undefined
  readonly hasMedia: boolean
}

type ReadMessages = SideTable<object, ReadMessage>

/** By rules, then by what else decides how a message is read. */
const readMessages = new WeakMap<EngineRules, Map<string, ReadMessages>>()

function knownMessages(
  rules: EngineRules,
  { format, media, isChecked }: VariablesOptions,
): ReadMessages {
  let byOptions = readMessages.get(rules)
  if (byOptions === undefined) {
    byOptions = new Map()
    readMessages.set(rules, byOptions)
  }
  const key = `${format} ${media} ${isChecked}`
  let known = byOptions.get(key)
  if (known === undefined) {
    known = sideTable()
    byOptions.set(key, known)
  }
  return known
}

/** Reads messages, and remembers what makes them uncertain. */
class MessageReader {
  doubt: Doubt | undefined
  hasMedia = false
  readonly #rules: EngineRules
  readonly #options: VariablesOptions

  /** Of messages that nobody may change, as these rules and options have them. */
  #known: ReadMessages | undefined

  constructor(rules: EngineRules, options: VariablesOptions) {
    this.#rules = rules
    this.#options = options
  }

  /** What was made of a message that nobody may change is not made again. */
  message(message: unknown): Fields | Unrenderable {
    if (!isFields(message) || !Object.isFrozen(message)) return this.#read(message)
    this.#known ??= knownMessages(this.#rules, this.#options)
    const known = this.#known.get(message)
    if (known !== undefined) {
      this.doubt ??= known.doubt
      this.hasMedia ||= known.hasMedia
      return known.fields
    }
    const alone = new MessageReader(this.#rules, this.#options)
    const fields = alone.#read(message)
    if (fields instanceof Unrenderable) return fields
    const { doubt: why, hasMedia } = alone
    this.#known.set(message, { fields: Object.freeze(fields), doubt: why, hasMedia })
    this.doubt ??= why
    this.hasMedia ||= hasMedia
    return fields
  }

  #read(message: unknown): Fields | Unrenderable {
    if (!isFields(message) || typeof message.role !== 'string') {
      return refused('a message has no role')
    }
    const { role } = message
    const rules = this.#rules
    const content = contentOf(message.content, role, { ...this.#options, rules })
    if (content instanceof Unrenderable) return content
    this.hasMedia ||= content.hasMedia
    const result: Record<string, unknown> = { role, content: content.value }
    if (role === 'assistant') {
      const failure = this.#addToolCalls(message, result)
      if (failure !== undefined) return failure
      this.#addReasoning(message, result)
    } else if (role === 'tool') {
      if ('tool_call_id' in message) result.tool_call_id = message.tool_call_id
      result.content = joinToolParts(content.value, rules)
    }
    if (typeof message.name === 'string') result.name = message.name
    if (rules.task && typeof message.task === 'string') result.task = message.task
    if (rules.developerTools && role === 'developer') {
      const { tools } = message
      result.tools = Array.isArray(tools) ? tools.map(checkedTool) : (tools ?? null)
    }
    return result
  }

  #addToolCalls(message: Fields, result: Record<string, unknown>): Unrenderable | undefined {
    if (!Array.isArray(message.tool_calls)) return undefined
    if (message.tool_calls.length === 0 && !this.#rules.emptyToolCalls) return undefined
    const calls: Fields[] = []
    for (const each of message.tool_calls as readonly unknown[]) {
      const variable = toolCallVariable(each, this.#rules, this.#options.isChecked)
      if (variable instanceof Unrenderable) return variable
      this.doubt ??= variable.doubt
      calls.push(variable.call)
    }
    result.tool_calls = calls
    return undefined
  }

  #addReasoning(message: Fields, result: Record<string, unknown>): void {
    const reasoning = reasoningOf(message, this.#rules, this.#options.isChecked)
    if (isAbsent(reasoning)) return
    result.reasoning = reasoning
    result.reasoning_content = reasoning
  }
}

function reasoningOf(message: Fields, rules: EngineRules, isChecked: boolean): unknown {
  const { reasoning, reasoning_content: older } = message
  switch (rules.reasoning) {
    case 'dropped':
      return undefined
    case 'either':
      return reasoning || older
    case 'reasoning':
      return reasoning
    case 'renamed':
      return isChecked ? (reasoning ?? older) : reasoning
  }
}

/** Parts of a tool's result become one text in engines that know that most templates want it so. */
function joinToolParts(content: string | readonly Fields[], rules: EngineRules): unknown {
  if (typeof content === 'string' || rules.toolParts === 'never-joined') return content
  const texts = content.filter(({ type }) => type === 'text')
  if (rules.toolParts === 'joined-if-all-text' && texts.length < content.length) return content
  return texts.map(({ text }) => text).join('\n')
}
