import type { Prompt } from '../framework/request.ts'
import { Unrenderable } from './chat/chat-variables.ts'
import { renderChat } from './chat/render-chat.ts'
import { type Doubt, doubt } from './doubt.ts'
import type { EncodedText, ModelTokenizer } from './model-tokenizer.ts'
import type { Outcome } from './outcome.ts'

/**
 * Renders a prompt with the model's template where it is a chat, and encodes it. Stays synchronous when all of its text is
 * short or was seen before.
 *
 * @throws {RangeError} for nesting deeper than the stack
 */
export function encodePrompt(
  tokenizer: ModelTokenizer,
  prompt: Exclude<Prompt, { kind: 'tokens' }>,
): Outcome | Promise<Outcome> {
  if (prompt.kind === 'text')
    return gather(prompt.texts.map((text) => tokenizer.encode(text, true)))
  if (tokenizer.template === undefined) {
    return doubt('no-template', `${tokenizer.folder} has no chat template`)
  }
  const chat = renderChat(tokenizer.template, prompt.body)
  if (chat instanceof Unrenderable) return chat.doubt
  const encoded = tokenizer.encode(chat.text, prompt.body.add_special_tokens === true)
  return gather([encoded], chat.doubt)
}

/** All prompts of a request, or the first reason why one has no ids. Stays synchronous when all of them are. */
function gather(
  encoded: readonly (EncodedText | Promise<EncodedText | Doubt> | Doubt)[],
  also?: Doubt,
): Outcome | Promise<Outcome> {
  if (encoded.some((one) => one instanceof Promise)) {
    return Promise.all(encoded).then((settled) => collect(settled, also))
  }
  return collect(encoded as readonly (EncodedText | Doubt)[], also)
}

function collect(settled: readonly (EncodedText | Doubt)[], also: Doubt | undefined): Outcome {
  const prompts: Int32Array[] = []
  let first = also
  for (const one of settled) {
    if ('code' in one) return one
    prompts.push(one.ids)
    first ??= one.doubt
  }
  return { prompts, doubt: first }
}
