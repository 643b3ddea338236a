import type { ChatPrompt, EncodingOptions } from '../../framework/request.ts'
import { type Doubt, doubt } from '../doubt.ts'
import type { ChatTemplate } from './chat-template.ts'
import { type ChatVariables, chatVariables } from './chat-variables.ts'
import type { MediaForm } from './content-parts.ts'
import type { EngineRules } from './engine-rules.ts'
import { type Fields, isAbsent, truthOf } from './fields.ts'
import type { ReadChat } from './known-messages.ts'
import { chatOfMessages, type TemplateFacts } from './messages-api.ts'
import { measure } from './prompt-measure.ts'
import { parsePythonJson } from './python-json.ts'
import { RenderedChat } from './rendered-chat.ts'
import { chatOfResponses } from './responses-api.ts'
import { ruleKeys } from './rule-differences.ts'
import { refused, Unrenderable } from './unrenderable.ts'

export type { RenderedChat } from './rendered-chat.ts'

const MEDIA = doubt(
  'media',
  'a message has a part that is not text, whose tokens only the engine knows',
)

/**
 * Renders a chat body as engines of these rules do. Where rules differ for this body and the texts come out different too,
 * the text is that of the first, with a doubt.
 *
 * @param ruleSets at least one, the likeliest first
 * @param options `isOwn` when `template` is the one that the request itself brings; `maxMessages` that a chat may have
 * @throws {RangeError} for nesting deeper than the stack
 */
export function renderChat(
  template: ChatTemplate,
  prompt: ReadChat,
  ruleSets: readonly EngineRules[],
  { isOwn = false, maxMessages }: { readonly isOwn?: boolean; readonly maxMessages?: number } = {},
): RenderedChat | Unrenderable {
  const measured = measure(prompt.body, maxMessages)
  if (measured.isLong) return new Unrenderable('too-long', measured.reason)
  if (!isOwn && !isAbsent(prompt.body.chat_template) && (prompt.api ?? 'chat') === 'chat') {
    return new Unrenderable(
      'own-template',
      'the request brings its own chat template; trustRequestChatTemplate of token-producer would render it',
    )
  }
  const body = measured.hasNumbers ? pythonBody(prompt) : prompt.body
  return renderAll(template, { ...prompt, body }, ruleSets)
}

/** The body with its numbers as Python has them, where they are known. */
function pythonBody(prompt: ReadChat): Fields {
  if (prompt.pythonBody !== undefined) return prompt.pythonBody()
  const text = prompt.text?.()
  return text === undefined ? prompt.body : (parsePythonJson(text) as Fields)
}

/** Renders once for all rules that give the same text anyway. */
function renderAll(
  template: ChatTemplate,
  prompt: ChatPrompt,
  ruleSets: readonly EngineRules[],
): RenderedChat | Unrenderable {
  const [only, ...more] = ruleSets as [EngineRules, ...EngineRules[]]
  if (more.length === 0) {
    const chat = chatOf(template, prompt, only)
    return chat instanceof Unrenderable ? chat : renderOne(template, prompt, chat, only)
  }
  const chats = new Map<unknown, Candidate>()
  const outcomes = new Map<string, RenderedChat | Unrenderable>()
  for (const rules of ruleSets) {
    const api = apiRules(prompt, rules)
    let entry = chats.get(api)
    if (entry === undefined) {
      const chat = chatOf(template, prompt, rules)
      const keyOf = chat instanceof Unrenderable ? () => '' : ruleKeys(template, chat)
      entry = { number: chats.size, chat, keyOf }
      chats.set(api, entry)
    }
    const { number, chat, keyOf } = entry
    const key = `${number}:${keyOf(rules)}`
    if (outcomes.has(key)) continue
    outcomes.set(
      key,
      chat instanceof Unrenderable ? chat : renderOne(template, prompt, chat, rules),
    )
  }
  return agreed([...outcomes.values()])
}

/** A body as a chat completion's, and what tells rules apart that render it differently. */
interface Candidate {
  readonly number: number
  readonly chat: Fields | Unrenderable
  keyOf(rules: EngineRules): string
}

/** What decides how the body becomes a chat completion's. */
function apiRules({ api = 'chat' }: ChatPrompt, rules: EngineRules): unknown {
  return api === 'messages' ? rules.messagesApi : api === 'responses' ? rules.responsesApi : api
}

function chatOf(
  template: ChatTemplate,
  { api = 'chat', body }: ChatPrompt,
  rules: EngineRules,
): Fields | Unrenderable {
  if (api === 'messages') return chatOfMessages(body, rules, () => factsOf(template, rules))
  return api === 'responses' ? chatOfResponses(body, rules) : body
}

const DIFFER = doubt(
  'engine-version',
  'releases of the engine render this request differently, and the engines are of several releases or do not say theirs',
)

/** What an engine refuses has no ids to differ from; among the others all must agree. */
function agreed(outcomes: readonly (RenderedChat | Unrenderable)[]): RenderedChat | Unrenderable {
  if (outcomes.length === 1) return outcomes[0]!
  const first = outcomes.find((outcome) => !(outcome instanceof Unrenderable)) as
    | RenderedChat
    | undefined
  if (first === undefined) return outcomes[0]!
  const agree = outcomes.every((outcome) =>
    outcome instanceof Unrenderable
      ? outcome.refused
      : outcome.text === first.text &&
        outcome.marked === first.marked &&
        String(Object.values(outcome.encoding)) === String(Object.values(first.encoding)),
  )
  return agree ? first : new RenderedChat({ ...first, doubt: first.doubt ?? DIFFER })
}

function renderOne(
  template: ChatTemplate,
  { api = 'chat' }: ChatPrompt,
  chat: Fields,
  rules: EngineRules,
): RenderedChat | Unrenderable {
  const withTools = Array.isArray(chat.tools) && chat.tools.length > 0
  const options = {
    format: template.contentFormat(withTools, rules.contentLoops),
    namesDeveloper: template.namesDeveloper(withTools),
    isChecked: api !== 'responses',
  }
  const form = (media: MediaForm): RenderedForm | Unrenderable => {
    const input = chatVariables(chat, rules, { ...options, media })
    if (input instanceof Unrenderable) return input
    const text = renderText(template, input, withTools)
    return text instanceof Unrenderable ? text : { ...text, hasMedia: input.hasMedia }
  }
  const rendered = form('engine')
  if (rendered instanceof Unrenderable) return rendered
  const marked = rendered.hasMedia ? form('marked') : undefined
  if (marked instanceof Unrenderable) return marked
  const why = template.mentions('strftime_now', withTools) ? DATED : undefined
  return new RenderedChat({
    parts: rendered.parts,
    encoding: encodingOf(chat, rules),
    markedParts: marked?.parts,
    doubt: why ?? rendered.doubt ?? (rendered.hasMedia ? MEDIA : undefined),
  })
}

interface RenderedForm {
  readonly parts: readonly string[]
  readonly doubt: Doubt | undefined
  readonly hasMedia: boolean
}

const DATED = doubt(
  'template-date',
  'the chat template writes the date, which the engine reads from its own clock',
)
const TEMPLATE_FAILED = refused('the chat template refuses the messages')

function renderText(
  template: ChatTemplate,
  input: ChatVariables,
  withTools: boolean,
): Omit<RenderedForm, 'hasMedia'> | Unrenderable {
  let parts: readonly string[]
  try {
    parts = template.render(input.variables, withTools)
  } catch {
    // The message of the error may quote the request, and is not kept.
    return TEMPLATE_FAILED
  }
  const why = input.doubt
  if (!input.continuesFinal) return { parts, doubt: why }
  const cut = cutAfterFinalMessage(parts.join(''), input.messages)
  const cutAtTag = cutAtFinalTag(template, input, withTools)
  if (cutAtTag === undefined) return refused('the final message is not in the rendered chat')
  return {
    parts: cutAtTag === '' ? [] : [cutAtTag],
    doubt: why ?? (cut === cutAtTag ? undefined : CONTINUED),
  }
}

const CONTINUED = doubt(
  'continued-message',
  'releases of the engine end the message that is to be continued differently',
)
/** What transformers puts behind the final message to find its end. */
const FINAL_TAG = 'CONTINUE_FINAL_MESSAGE_TAG '

/**
 * Drops what a template writes after the final message, so that the model continues it, as transformers does from 4.57 on
 * (https://github.com/huggingface/transformers/blob/main/src/transformers/utils/chat_template_utils.py,
 * `render_jinja_template`): the template is given a mark to write behind it. Undefined when it does not write it.
 */
function cutAtFinalTag(
  template: ChatTemplate,
  { variables, messages }: ChatVariables,
  withTools: boolean,
): string | undefined {
  const final = messages.at(-1)
  const content = tagged(final?.content)
  if (final === undefined || content === undefined) return undefined
  const marked = [...messages.slice(0, -1), { ...final, content }]
  let text: string
  try {
    text = template.render({ ...variables, messages: marked }, withTools).join('')
  } catch {
    return undefined
  }
  const at = text.lastIndexOf(FINAL_TAG.trimEnd())
  if (at < 0) return undefined
  const before = text.slice(0, at)
  return text.startsWith(FINAL_TAG, at) ? before : before.trimEnd()
}

/** A message's content with the mark behind its last text; undefined when it has none. */
function tagged(content: unknown): unknown {
  if (typeof content === 'string') return content + FINAL_TAG
  if (!Array.isArray(content)) return undefined
  const parts = content as readonly Fields[]
  const last = parts.findLastIndex((part) => typeof part.text === 'string')
  if (last < 0) return undefined
  return parts.with(last, { ...parts[last], text: `${parts[last]!.text}${FINAL_TAG}` })
}

/** The same as earlier releases do it: behind the last place where the final message's text stands. */
function cutAfterFinalMessage(text: string, messages: readonly Fields[]): string | undefined {
  const content = messages.at(-1)?.content
  const final = Array.isArray(content)
    ? (content as readonly Fields[]).findLast((part) => typeof part.text === 'string')?.text
    : content
  if (typeof final !== 'string') return undefined
  const trimmed = final.trim()
  const at = text.lastIndexOf(trimmed)
  if (at < 0) return undefined
  const length = text.startsWith(final, at) ? final.length : trimmed.length
  return text.slice(0, at + length)
}

function encodingOf(chat: Fields, rules: EngineRules): EncodingOptions {
  const { truncate_prompt_tokens: keep, truncation_side: side } = chat
  const hasSide = rules.truncationSide && (side === 'left' || side === 'right')
  return {
    addSpecialTokens: truthOf(chat.add_special_tokens, false),
    truncateTokens: isAbsent(keep) ? undefined : Number(keep),
    truncationSide: hasSide ? side : undefined,
    unfollowed: undefined,
  }
}

const EFFORTS = ['low', 'medium', 'high', 'xhigh', 'max']
const PROBE: Fields = { messages: [{ role: 'user', content: 'Hi' }] }

/** What an engine finds out of its template by trying (`_probe_disabled_thinking_effort` of vLLM). */
function factsOf(template: ChatTemplate, rules: EngineRules): TemplateFacts {
  const probe = (effort: string): string | undefined => {
    const chat = { ...PROBE, reasoning_effort: effort }
    const rendered = renderOne(template, { kind: 'chat', body: chat }, chat, rules)
    return rendered instanceof Unrenderable ? undefined : rendered.text
  }
  return {
    mergesLateSystem: template.mergesLateSystem,
    get noThinkingEffort() {
      const none = probe('none')
      const isKnown = none !== undefined && EFFORTS.every((effort) => probe(effort) !== none)
      return isKnown ? 'none' : 'low'
    },
  }
}
