import { parentPort } from 'node:worker_threads'
import type { ChatPrompt } from '../../framework/request.ts'
import { type Doubt, doubt } from '../doubt.ts'
import { ChatTemplate, type TokenNames } from './chat-template.ts'
import { ALL_RULES, type EngineRules } from './engine-rules.ts'
import { renderChat } from './render-chat.ts'
import type { RenderedText } from './rendered-chat.ts'
import { Unrenderable } from './unrenderable.ts'

/** A chat, and the template to render it with. */
export interface OwnTemplateJob {
  readonly template: string
  readonly tokens: TokenNames
  readonly prompt: Pick<ChatPrompt, 'kind' | 'api' | 'body'>
  /** The body's JSON where it is known. */
  readonly json: string | undefined
  readonly ruleSets: readonly EngineRules[]
  readonly maxTextBytes: number
  readonly maxMessages: number
}

/** `ready` once, when the thread has loaded; then an answer for each job. */
export type OwnTemplateMessage = 'ready' | RenderedText | Doubt

const port = parentPort
if (port === null) throw new Error('own-template-worker runs in a worker thread only')

port.on('message', (job: OwnTemplateJob) => port.postMessage(answerTo(job)))
// The first rendering compiles the code, which is not the template's fault.
answerTo({
  template: '{% for m in messages %}{{ m.content }}{{ m | tojson }}{% endfor %}',
  tokens: {},
  prompt: { kind: 'chat', body: { messages: [{ role: 'user', content: 'warm up' }] } },
  json: undefined,
  ruleSets: ALL_RULES,
  maxTextBytes: 0,
  maxMessages: 1,
})
port.postMessage('ready' satisfies OwnTemplateMessage)

function answerTo(job: OwnTemplateJob): OwnTemplateMessage {
  const { prompt, json, ruleSets, maxTextBytes, maxMessages } = job
  try {
    const template = ChatTemplate.of(job.template, job.tokens)
    const chat = renderChat(
      template,
      json === undefined ? prompt : { ...prompt, text: () => json },
      ruleSets,
      { isOwn: true, maxMessages },
    )
    if (chat instanceof Unrenderable) return chat.doubt
    if (Buffer.byteLength(chat.text) > maxTextBytes) {
      return doubt(
        'own-template',
        `the request's chat template writes more than ${maxTextBytes} bytes`,
      )
    }
    return { ...chat }
  } catch {
    // The message of the error may quote the request.
    return doubt('own-template', "the request's chat template cannot be rendered")
  }
}
