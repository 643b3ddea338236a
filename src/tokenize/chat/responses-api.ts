import type { EngineRules, ResponsesRules } from './engine-rules.ts'
import { type Fields, isAbsent, isFields } from './fields.ts'
import { refused, Unrenderable } from './unrenderable.ts'

/** Fields that bring in what only the engine has. */
const STORED = ['previous_response_id', 'conversation', 'previous_input_messages', 'prompt']

/**
 * The chat completion that an engine makes of a Responses request that carries all of its conversation
 * (https://github.com/vllm-project/vllm/blob/v0.32.0/vllm/entrypoints/openai/responses/utils.py).
 */
export function chatOfResponses(
  body: Fields,
  { responsesApi: rules }: EngineRules,
): Fields | Unrenderable {
  if (STORED.some((field) => !isAbsent(body[field]))) {
    return new Unrenderable(
      'stored-response',
      'the request continues a response that the engine has',
    )
  }
  const messages = messagesOf(body, rules)
  if (messages instanceof Unrenderable) return messages
  const tools = toolsOf(body.tools, rules)
  if (tools instanceof Unrenderable) return tools
  const effort = isFields(body.reasoning) ? body.reasoning.effort : undefined
  const continues = rules.continued && isUnfinished(body.input)
  return {
    messages,
    ...(tools.length > 0 && { tools }),
    ...(rules.kwargs &&
      isFields(body.chat_template_kwargs) && {
        chat_template_kwargs: body.chat_template_kwargs,
      }),
    ...(!isAbsent(effort) && { reasoning_effort: effort }),
    ...(continues && { continue_final_message: true, add_generation_prompt: false }),
    add_special_tokens: rules.addsSpecialTokens,
    ...(!isAbsent(body.truncation) &&
      body.truncation !== 'disabled' && {
        truncate_prompt_tokens: -1,
      }),
  }
}

function messagesOf(body: Fields, rules: ResponsesRules): readonly Fields[] | Unrenderable {
  const messages: Record<string, unknown>[] = []
  if (typeof body.instructions === 'string' && body.instructions !== '') {
    messages.push({ role: 'system', content: body.instructions })
  }
  if (typeof body.input === 'string') return [...messages, { role: 'user', content: body.input }]
  if (!Array.isArray(body.input)) return refused('the request has no input')
  for (const item of body.input as readonly unknown[]) {
    if (!isFields(item)) return refused('an item of the input is no object')
    const failure = addItem(item, messages, rules)
    if (failure !== undefined) return failure
  }
  return messages
}

const OLD_ITEM = new Unrenderable(
  'responses-items',
  'releases of the engine before 0.22 read this item of the input in ways that are not followed here',
)

/** Adds an item as a message, or to the assistant's message before it. */
function addItem(
  item: Fields,
  messages: Record<string, unknown>[],
  rules: ResponsesRules,
): Unrenderable | undefined {
  const type = item.type ?? 'message'
  if (type === 'function_call_output') {
    if (!rules.merged) return OLD_ITEM
    messages.push({ role: 'tool', content: item.output, tool_call_id: item.call_id })
    return undefined
  }
  const isAnswer = type === 'message' && item.role === 'assistant'
  if (type === 'message' && typeof item.role === 'string' && !isAnswer) {
    messages.push(item)
    return undefined
  }
  if (isAnswer && typeof item.content === 'string' && !(rules.merged && rules.shortFormMerged)) {
    messages.push({ role: 'assistant', content: item.content })
    return undefined
  }
  if (!rules.merged) return OLD_ITEM
  const part = turnPart(type, item)
  if (part instanceof Unrenderable) return part
  const last = messages.at(-1)
  const open = last?.role === 'assistant' ? last : undefined
  if ('tool_calls' in part) {
    if (open === undefined) messages.push({ role: 'assistant', ...part })
    else if (Array.isArray(open.tool_calls)) open.tool_calls.push(...(part.tool_calls as unknown[]))
    else open.tool_calls = part.tool_calls
    return undefined
  }
  const [[field, value]] = Object.entries(part) as [[string, unknown]]
  if (open !== undefined && isAbsent(open[field])) open[field] = value
  else messages.push({ role: 'assistant', [field]: value })
  return undefined
}

/** What an item gives to an assistant's turn: its `content`, its `reasoning`, or one of its `tool_calls`. */
function turnPart(type: unknown, item: Fields): Fields | Unrenderable {
  switch (type) {
    case 'message': {
      if (typeof item.content === 'string') return { content: item.content }
      const text = firstText(item.content)
      return text === undefined ? refused("an assistant's message has no text") : { content: text }
    }
    case 'reasoning': {
      if (!isAbsent(item.encrypted_content) && item.encrypted_content !== '') {
        return refused('the engine takes no encrypted reasoning')
      }
      return { reasoning: firstText(item.content) ?? firstText(item.summary) ?? '' }
    }
    case 'function_call': {
      if (!isAbsent(item.namespace)) break
      const { name, arguments: text } = item
      return {
        tool_calls: [{ id: item.call_id, function: { name, arguments: text }, type: 'function' }],
      }
    }
  }
  return new Unrenderable('responses-items', 'an item of the input is not followed here')
}

function firstText(list: unknown): string | undefined {
  const first: unknown = Array.isArray(list) ? list[0] : undefined
  return isFields(first) && typeof first.text === 'string' ? first.text : undefined
}

function toolsOf(tools: unknown, rules: ResponsesRules): readonly Fields[] | Unrenderable {
  if (!Array.isArray(tools) || tools.length === 0) return []
  const made: Fields[] = []
  for (const tool of tools as readonly unknown[]) {
    if (!rules.tools || !isFields(tool) || tool.type !== 'function') {
      return new Unrenderable(
        'responses-tools',
        'the tools are printed as the client library of the engine orders their fields',
      )
    }
    const { name, description, parameters, strict, defer_loading } = tool
    made.push({
      type: 'function',
      function: { name, description, parameters, strict, defer_loading },
    })
  }
  return made
}

/** True when the last item says that it is not complete, which makes the engine go on with it. */
function isUnfinished(input: unknown): boolean {
  const last: unknown = Array.isArray(input) ? input.at(-1) : undefined
  if (!isFields(last) || !['message', 'reasoning'].includes(String(last.type ?? 'message'))) {
    return false
  }
  return last.status === 'in_progress' || last.status === 'incomplete'
}
