import { type Doubt, doubt } from '../doubt.ts'
import type { ChatTemplate } from './chat-template.ts'
import { chatVariables, dependsOnEra, type EngineEra, Unrenderable } from './chat-variables.ts'
import { unwrapNumbers } from './python-json.ts'

/** Rendering runs on the event loop and takes about 50 µs a message: a chat with more of them is estimated. */
const MAX_MESSAGES = 1000

/** The same for the objects and arrays in all of the body, such as those of tools. */
const MAX_CONTAINERS = 20_000

/** A chat as the text that the engine tokenizes. */
export interface RenderedChat {
  readonly text: string
  readonly doubt: Doubt | undefined
}

/**
 * Renders a chat body. Where releases of vLLM differ for this body and the texts come out different too, the text is
 * that of the newer one, with a doubt.
 */
export function renderChat(
  template: ChatTemplate,
  body: Readonly<Record<string, unknown>>,
): RenderedChat | Unrenderable {
  if (isLong(body)) {
    return new Unrenderable(
      'too-long',
      `the chat has more than ${MAX_MESSAGES} messages, or too many parts`,
    )
  }
  const current = render(template, body, 'current')
  if (current instanceof Unrenderable || current.doubt !== undefined || !dependsOnEra(body)) {
    return current
  }
  const early = render(template, body, 'early')
  if (!(early instanceof Unrenderable) && early.text === current.text) return current
  return {
    text: current.text,
    doubt: doubt(
      'engine-version',
      'releases of the engine differ in reasoning_effort, reasoning fields and the role developer',
    ),
  }
}

function render(
  template: ChatTemplate,
  body: Readonly<Record<string, unknown>>,
  era: EngineEra,
): RenderedChat | Unrenderable {
  const withTools = Array.isArray(body.tools) && body.tools.length > 0
  const input = chatVariables(body, template.contentFormat(withTools), era)
  if (input instanceof Unrenderable) return input
  let text: string
  try {
    text = unwrapNumbers(template.render(input.variables, withTools))
  } catch {
    // The message of the error may quote the request, and is not kept.
    return new Unrenderable('template-failed', 'the chat template refuses the messages')
  }
  if (body.continue_final_message === true) {
    const cut = cutAfterFinalMessage(text, input.variables.messages as readonly FinalMessage[])
    if (cut === undefined) {
      return new Unrenderable('bad-messages', 'the final message is not in the rendered chat')
    }
    text = cut
  }
  if (template.mentions('strftime_now', withTools)) {
    return {
      text,
      doubt: doubt(
        'template-date',
        'the chat template writes the date, which the engine reads from its own clock',
      ),
    }
  }
  return { text, doubt: input.doubt }
}

function isLong(body: Readonly<Record<string, unknown>>): boolean {
  if (Array.isArray(body.messages) && body.messages.length > MAX_MESSAGES) return true
  const rest: object[] = [body]
  let containers = 0
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    if (++containers > MAX_CONTAINERS) return true
    for (const value of Object.values(next)) {
      if (typeof value === 'object' && value !== null) rest.push(value)
    }
  }
  return false
}

interface FinalMessage {
  readonly content: string | readonly { readonly text: string }[]
}

/**
 * Drops what a template writes after the final message, so that the model continues it
 * (https://github.com/huggingface/transformers/blob/main/src/transformers/utils/chat_template_utils.py,
 * `render_jinja_template`).
 */
function cutAfterFinalMessage(text: string, messages: readonly FinalMessage[]): string | undefined {
  const content = messages.at(-1)?.content
  const final = typeof content === 'string' ? content : content?.at(-1)?.text
  if (final === undefined) return undefined
  const trimmed = final.trim()
  const at = text.lastIndexOf(trimmed)
  if (at < 0) return undefined
  const length = text.startsWith(final, at) ? final.length : trimmed.length
  return text.slice(0, at + length)
}
