import type { EngineVersion } from './options.ts'
import type { FinishReason } from './sequence.ts'

/** What the answer to one request is made from. */
export interface AnswerHead {
  readonly id: string
  readonly model: string
  /** Epoch seconds. */
  readonly created: number
  readonly chat: boolean
  readonly version: EngineVersion
}

/** Token counts of one request, over all its prompts. */
export interface AnswerUsage {
  readonly promptTokens: number
  readonly completionTokens: number
  readonly cachedTokens: number
  /** Prompt tokens of blocks that this request has added to the cache. */
  readonly storedTokens: number
}

/** One finished choice. */
export interface AnswerChoice {
  readonly text: string
  readonly finishReason: FinishReason
}

const FINGERPRINT = 'vllm-0.32.0-sim'

/** Body of a request that is not streamed, with the fields and their order of vLLM's. */
export function wholeAnswer(
  head: AnswerHead,
  choices: readonly AnswerChoice[],
  usage: AnswerUsage,
): unknown {
  const late = head.version === '0.32.0'
  return {
    id: head.id,
    object: head.chat ? 'chat.completion' : 'text_completion',
    created: head.created,
    model: head.model,
    choices: choices.map(({ text, finishReason }, index) =>
      head.chat
        ? {
            index,
            message: {
              role: 'assistant',
              content: text,
              refusal: null,
              annotations: null,
              audio: null,
              function_call: null,
              ...(late ? { reasoning: null } : { tool_calls: [], reasoning_content: null }),
            },
            logprobs: null,
            finish_reason: finishReason,
            stop_reason: null,
          }
        : {
            index,
            text,
            logprobs: null,
            finish_reason: finishReason,
            stop_reason: null,
            prompt_logprobs: null,
          },
    ),
    service_tier: null,
    system_fingerprint: late ? FINGERPRINT : null,
    usage: wholeUsage(head, usage),
    ...(head.chat ? { prompt_logprobs: null } : {}),
    kv_transfer_params: null,
  }
}

/** The first chunk of a streamed chat. */
export function roleChunk(head: AnswerHead): string {
  return chunk(head, [
    { index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null },
  ])
}

/** One token of a streamed answer; `finishReason` on the last. */
export function tokenChunk(
  head: AnswerHead,
  index: number,
  text: string,
  finishReason: FinishReason | undefined,
  usageFollows: boolean,
): string {
  const finish_reason = finishReason ?? null
  const late = head.version === '0.32.0'
  // Newer releases put the fingerprint on the last chunk there is.
  const tail =
    late && finishReason !== undefined && !usageFollows ? { system_fingerprint: FINGERPRINT } : {}
  if (!head.chat) {
    const early = late ? {} : { usage: null }
    return chunk(head, [{ index, text, logprobs: null, finish_reason, stop_reason: null }], {
      ...early,
      ...tail,
    })
  }
  const stop = finishReason === undefined ? {} : { stop_reason: null }
  return chunk(
    head,
    [{ index, delta: { content: text }, logprobs: null, finish_reason, ...stop }],
    tail,
  )
}

/** The chunk that `stream_options.include_usage` asks for. */
export function usageChunk(head: AnswerHead, usage: AnswerUsage): string {
  const late = head.version === '0.32.0'
  const details = late
    ? {
        cached_tokens: usage.cachedTokens,
        ...(head.chat ? { created_cache_tokens: usage.storedTokens } : {}),
      }
    : { cached_tokens: usage.cachedTokens }
  return chunk(head, [], {
    usage: {
      ...counts(usage),
      ...(late || usage.cachedTokens > 0 ? { prompt_tokens_details: details } : {}),
    },
    ...(late ? { system_fingerprint: FINGERPRINT } : {}),
  })
}

/** Ends every stream. */
export const DONE = 'data: [DONE]\n\n'

/** Body of an error, in the version's form. */
export function errorBody(
  version: EngineVersion,
  status: number,
  type: string,
  message: string,
  param: string | null,
): unknown {
  return version === '0.32.0'
    ? { error: { message, type, param, code: status } }
    : { object: 'error', message, type, param: null, code: status }
}

function chunk(head: AnswerHead, choices: readonly unknown[], rest: object = {}): string {
  const body = {
    id: head.id,
    object: head.chat ? 'chat.completion.chunk' : 'text_completion',
    created: head.created,
    model: head.model,
    choices,
    ...rest,
  }
  return `data: ${JSON.stringify(body)}\n\n`
}

function wholeUsage(head: AnswerHead, usage: AnswerUsage): unknown {
  if (head.version === '0.10.0') {
    const { cachedTokens } = usage
    return {
      ...counts(usage),
      prompt_tokens_details: cachedTokens > 0 ? { cached_tokens: cachedTokens } : null,
    }
  }
  return {
    ...counts(usage),
    prompt_tokens_details: {
      cached_tokens: usage.cachedTokens,
      created_cache_tokens: head.chat ? usage.storedTokens : null,
      multimodal_tokens: null,
    },
    completion_tokens_details: null,
  }
}

function counts({ promptTokens, completionTokens }: AnswerUsage): object {
  return {
    prompt_tokens: promptTokens,
    total_tokens: promptTokens + completionTokens,
    completion_tokens: completionTokens,
  }
}
