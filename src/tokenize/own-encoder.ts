import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ChatTemplate } from './chat/chat-template.ts'
import { type Doubt, doubt } from './doubt.ts'

/** Kinds of models (`model_type` of config.json) whose chats an engine writes with code of its own. */
const OWN_ENCODERS: Readonly<Record<string, string>> = {
  gpt_oss: 'the harmony encoder',
  deepseek_v32: 'an encoder of DeepSeek-V3.2',
  deepseek_v4: 'an encoder of DeepSeek-V4',
  deepseek_v41: 'an encoder of DeepSeek-V4',
  kimi_k3: 'an encoder of Kimi-K3',
  inkling: 'an encoder of Inkling',
}

/** Files that make vLLM take Mistral's own tokenizer instead of `tokenizer.json`. */
const MISTRAL_FILE = /^(?:tekken\.json|tokenizer\.model\.v.*)$/

/** Which prompts of a model are not what its tokenizer and template say. */
export interface EncoderDoubts {
  /** Of all prompts. */
  readonly text: Doubt | undefined
  /** Of chats. */
  readonly chat: Doubt | undefined
}

/**
 * Models for which an engine uses neither the chat template nor, some of them, the tokenizer of their folder, as far as the
 * files there tell (https://github.com/vllm-project/vllm/blob/v0.32.0/vllm/renderers/registry.py,
 * vllm/tokenizers/registry.py).
 *
 * @throws when the folder cannot be read
 */
export function encoderDoubts(folder: string, template: ChatTemplate | undefined): EncoderDoubts {
  if (readdirSync(folder).some((name) => MISTRAL_FILE.test(name))) {
    const text = doubt(
      'own-encoder',
      "the engine uses Mistral's own tokenizer for a model that has its files",
    )
    return { text, chat: text }
  }
  const isHarmony =
    template?.mentions('<|channel|>', false) === true && template.mentions('<|start|>', false)
  const type = isHarmony ? 'gpt_oss' : modelType(folder)
  const encoder = Object.hasOwn(OWN_ENCODERS, type) ? OWN_ENCODERS[type] : undefined
  return {
    text: undefined,
    chat:
      encoder === undefined
        ? undefined
        : doubt('own-encoder', `the engine writes chats of this model with ${encoder}`),
  }
}

/** Empty when there is no config.json, or it names none. */
function modelType(folder: string): string {
  let text: string
  try {
    text = readFileSync(join(folder, 'config.json'), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
  const { model_type: type } = JSON.parse(text) as { model_type?: unknown }
  return typeof type === 'string' ? type : ''
}
