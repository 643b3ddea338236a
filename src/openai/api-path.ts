/** Where the APIs are that have a prompt. */
export const API_PATHS: Readonly<Record<string, string>> = {
  chat: '/v1/chat/completions',
  completions: '/v1/completions',
  messages: '/v1/messages',
  responses: '/v1/responses',
}

/** The API that a body's fields fit; what fits none is left to the parser of chats, which says what is missing. */
export function apiPathOf(body: string): string {
  let json: unknown
  try {
    json = JSON.parse(body)
  } catch {
    return API_PATHS.chat!
  }
  const fields = (json ?? {}) as Readonly<Record<string, unknown>>
  if ('prompt' in fields) return API_PATHS.completions!
  if ('input' in fields) return API_PATHS.responses!
  // Anthropic's are the only messages with a system prompt beside them.
  return 'system' in fields ? API_PATHS.messages! : API_PATHS.chat!
}
