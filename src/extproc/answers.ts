import type { ErrorCode } from '../framework/errors.ts'
import { SchedulerError } from '../framework/errors.ts'
import { immediateAnswer } from './processing-response.ts'

/** Why a request was dropped, in llm-d-router's words; stands in `DROPPED_REASON` on 429 and 503. */
type DroppedReason =
  | 'rejected-saturated'
  | 'rejected-no-endpoints'
  | 'rejected-shutting-down'
  | 'rejected-context-cancelled'

interface Answer {
  readonly status: number
  /** Error type in OpenAI's sense. */
  readonly type: string
  readonly reason?: DroppedReason
}

/** Response header that says why a request was dropped. */
const DROPPED_REASON = 'x-llm-d-request-dropped-reason'

const RETRY_AFTER_SECONDS = 1

const INVALID: Answer = { status: 400, type: 'invalid_request_error' }
const FAULT: Answer = { status: 500, type: 'server_error' }

/** The one table from error codes to HTTP answers. */
const ANSWERS: Readonly<Record<ErrorCode, Answer>> = {
  BAD_REQUEST: INVALID,
  MODEL_MISSING: INVALID,
  MODEL_UNKNOWN: { status: 404, type: 'invalid_request_error' },
  BODY_TOO_LARGE: { status: 413, type: 'invalid_request_error' },
  NO_ENDPOINTS: { status: 429, type: 'rate_limit_error', reason: 'rejected-saturated' },
  BUFFERS_FULL: { status: 503, type: 'server_error', reason: 'rejected-saturated' },
  REQUESTS_FULL: { status: 503, type: 'server_error', reason: 'rejected-saturated' },
  POOL_EMPTY: { status: 503, type: 'server_error', reason: 'rejected-no-endpoints' },
  SUBSET_EMPTY: { status: 503, type: 'server_error', reason: 'rejected-no-endpoints' },
  POOL_UNKNOWN: { status: 503, type: 'server_error', reason: 'rejected-no-endpoints' },
  SHUTTING_DOWN: { status: 503, type: 'server_error', reason: 'rejected-shutting-down' },
  CANCELLED: { status: 503, type: 'server_error', reason: 'rejected-context-cancelled' },
  CONFIG_INVALID: FAULT,
  SERVICE_MISSING: FAULT,
  SERVICE_CYCLE: FAULT,
  PLUGIN_CONTRACT: FAULT,
  PLUGIN_FAILED: FAULT,
  PORT_IN_USE: FAULT,
  START_FAILED: FAULT,
}

/** Code of the answer to `error`: its own, or `INTERNAL` for what is not a `SchedulerError`. */
export function answerCode(error: unknown): ErrorCode | 'INTERNAL' {
  return error instanceof SchedulerError ? error.code : 'INTERNAL'
}

/**
 * The ImmediateResponse that tells the client of `error`: OpenAI-shaped JSON, `retry-after` on 429, the dropped reason
 * on 429 and 503. An error that is not a `SchedulerError` tells nothing of itself.
 */
export function errorAnswer(error: unknown): Buffer {
  const code = answerCode(error)
  const { status, type, reason } = code === 'INTERNAL' ? FAULT : ANSWERS[code]
  const message = error instanceof SchedulerError ? error.message : 'internal error'
  const headers = new Map([['content-type', 'application/json']])
  if (status === 429) headers.set('retry-after', String(RETRY_AFTER_SECONDS))
  if (reason !== undefined) headers.set(DROPPED_REASON, reason)
  const body = JSON.stringify({ error: { message, type, code } })
  return immediateAnswer(status, headers, body, `epp_${code.toLowerCase()}`)
}
