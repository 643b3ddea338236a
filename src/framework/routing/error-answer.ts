import type { ErrorCode } from '../errors.ts'
import { SchedulerError } from '../errors.ts'

/** Why a request was dropped, in llm-d-router's words; stands in `DROPPED_REASON` on 429 and 503. */
type DroppedReason =
  | 'rejected-saturated'
  | 'rejected-no-endpoints'
  | 'rejected-shutting-down'
  | 'rejected-context-cancelled'

interface Row {
  readonly status: number
  /** Error type in OpenAI's sense. */
  readonly type: string
  readonly reason?: DroppedReason
  /** The code in OpenAI's words, where its clients know one; ours when absent. */
  readonly code?: string
}

/** What the client of a request that failed is told. */
export interface ErrorAnswer {
  readonly code: ErrorCode | 'INTERNAL'
  readonly status: number
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  /** OpenAI-shaped JSON. */
  readonly body: string
}

/** Response header that says why a request was dropped. */
const DROPPED_REASON = 'x-llm-d-request-dropped-reason'

const RETRY_AFTER_SECONDS = 1

const INVALID: Row = { status: 400, type: 'invalid_request_error' }
const FAULT: Row = { status: 500, type: 'server_error' }

/** The one table from error codes to HTTP answers, whatever the transport. */
const ROWS: Readonly<Record<ErrorCode, Row>> = {
  BAD_REQUEST: INVALID,
  MODEL_MISSING: INVALID,
  UNAUTHORIZED: { status: 401, type: 'invalid_request_error', code: 'invalid_api_key' },
  MODEL_UNKNOWN: { status: 404, type: 'invalid_request_error' },
  REQUEST_TIMEOUT: { status: 408, type: 'invalid_request_error' },
  BODY_TOO_LARGE: { status: 413, type: 'invalid_request_error' },
  HEADERS_TOO_LARGE: { status: 431, type: 'invalid_request_error' },
  NO_ENDPOINTS: { status: 429, type: 'rate_limit_error', reason: 'rejected-saturated' },
  BUFFERS_FULL: { status: 503, type: 'server_error', reason: 'rejected-saturated' },
  REQUESTS_FULL: { status: 503, type: 'server_error', reason: 'rejected-saturated' },
  POOL_EMPTY: { status: 503, type: 'server_error', reason: 'rejected-no-endpoints' },
  SUBSET_EMPTY: { status: 503, type: 'server_error', reason: 'rejected-no-endpoints' },
  POOL_UNKNOWN: { status: 503, type: 'server_error', reason: 'rejected-no-endpoints' },
  SHUTTING_DOWN: { status: 503, type: 'server_error', reason: 'rejected-shutting-down' },
  CANCELLED: { status: 503, type: 'server_error', reason: 'rejected-context-cancelled' },
  ENDPOINT_FAILED: { status: 502, type: 'server_error' },
  ENDPOINT_TIMEOUT: { status: 504, type: 'server_error' },
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
 * What the client is told of `error`: OpenAI-shaped JSON, `retry-after` on 429 and 503, the dropped reason on both. An
 * error that is not a `SchedulerError` tells nothing of itself.
 */
export function errorAnswer(error: unknown): ErrorAnswer {
  const code = answerCode(error)
  const { status, type, reason, code: word = code } = code === 'INTERNAL' ? FAULT : ROWS[code]
  const message = error instanceof SchedulerError ? error.message : 'internal error'
  const headers = new Map([['content-type', 'application/json']])
  if (status === 429 || status === 503) headers.set('retry-after', String(RETRY_AFTER_SECONDS))
  if (reason !== undefined) headers.set(DROPPED_REASON, reason)
  return { code, status, headers, body: JSON.stringify({ error: { message, type, code: word } }) }
}
