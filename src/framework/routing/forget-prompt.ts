import { PROMPT_TOKENS } from '../attributes.ts'
import type { InferenceRequest } from '../request.ts'

const NO_IDS = new Int32Array(0)

/**
 * Lets go of a picked request's text and token ids: its response may take minutes, and there may be thousands of them, each of
 * a long conversation.
 */
export function forgetPrompt(request: InferenceRequest): void {
  ;(request as { prompt: InferenceRequest['prompt'] }).prompt = undefined
  const tokens = request.attributes.get(PROMPT_TOKENS)
  if (tokens === undefined) return
  request.attributes.set(PROMPT_TOKENS, { ...tokens, prompts: tokens.prompts.map(() => NO_IDS) })
}
