/** Why the API server did not do what was asked. The names are the values of a metric's label. */
export type ProblemReason =
  | 'connect'
  | 'certificate'
  | 'credentials'
  | 'silent'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'gone'
  | 'throttled'
  | 'server'
  | 'refused'
  | 'malformed'
  | 'too_large'
  | 'stopped'

/** What went wrong with one request. */
export interface KubeProblem {
  readonly reason: ProblemReason
  /** For people; never holds a credential. */
  readonly text: string
  /** How long the server asks to wait; undefined when it does not say. */
  readonly retryAfterMs?: number
}

const BY_STATUS: Readonly<Record<number, ProblemReason>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  410: 'gone',
  429: 'throttled',
}
const WORDS: Readonly<Partial<Record<ProblemReason, string>>> = {
  unauthorized: 'Unauthorized',
  forbidden: 'Forbidden',
  not_found: 'Not Found',
  conflict: 'Conflict',
  gone: 'Gone',
  throttled: 'Too Many Requests',
}
const MAX_TEXT = 300

/** The problem that an HTTP status, or a Status object in a stream, stands for. */
export function statusProblem(
  status: number,
  message: string | undefined,
  retryAfterMs?: number,
): KubeProblem {
  const reason = BY_STATUS[status] ?? (status >= 500 ? 'server' : 'refused')
  const word = WORDS[reason]
  const name = word === undefined ? String(status) : `${status} ${word}`
  return {
    reason,
    text: message ? `${name}: ${message.slice(0, MAX_TEXT)}` : name,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  }
}

/** The problem that an error of a connection stands for. */
export function connectionProblem(error: unknown): KubeProblem {
  const { code, message } = error as { readonly code?: string; readonly message?: string }
  const text = (message || code || String(error)).slice(0, MAX_TEXT)
  return { reason: /CERT|SIGNATURE|TLS|SSL/.test(code ?? '') ? 'certificate' : 'connect', text }
}

/** An error's message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
