import assert from 'node:assert/strict'

/** What a client sees of one answer. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: string
  readonly usage:
    | {
        readonly prompt_tokens: number
        readonly completion_tokens: number
        readonly prompt_tokens_details?: { readonly cached_tokens: number } | null
      }
    | undefined
}

/** POSTs a body and reads the whole answer; an SSE stream must be whole, from the first chunk to `[DONE]`. */
export async function post(
  url: string,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
  const text = await response.text()
  const stream = (response.headers.get('content-type') ?? '').startsWith('text/event-stream')
  return {
    status: response.status,
    headers: response.headers,
    body: text,
    usage: stream ? streamUsage(text) : (JSON.parse(text) as Partial<Answer>).usage,
  }
}

function streamUsage(text: string): Answer['usage'] {
  const events = text.split('\n\n')
  assert.equal(events.pop(), '', 'a stream ends with an empty line')
  assert.equal(events.pop(), 'data: [DONE]')
  const chunks = events.map((event) => {
    assert.match(event, /^data: \{/)
    return JSON.parse(event.slice('data: '.length)) as Partial<Answer>
  })
  return chunks.map(({ usage }) => usage).findLast((usage) => usage)
}

/** Cached tokens that the engine reports; it leaves the details out when there are none. */
export function cachedTokens(answer: Answer): number {
  return answer.usage?.prompt_tokens_details?.cached_tokens ?? 0
}
