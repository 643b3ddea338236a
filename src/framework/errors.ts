/**
 * Every way in which this package fails on purpose. A code is stable and explained in docs/errors.md; a message is for
 * people and may change in any release.
 */
export type ErrorCode =
  | 'CONFIG_INVALID'
  | 'SERVICE_MISSING'
  | 'SERVICE_CYCLE'
  | 'PLUGIN_CONTRACT'
  | 'PLUGIN_FAILED'
  | 'BAD_REQUEST'
  | 'MODEL_MISSING'
  | 'UNAUTHORIZED'
  | 'MODEL_UNKNOWN'
  | 'REQUEST_TIMEOUT'
  | 'BODY_TOO_LARGE'
  | 'HEADERS_TOO_LARGE'
  | 'BUFFERS_FULL'
  | 'REQUESTS_FULL'
  | 'NO_ENDPOINTS'
  | 'POOL_EMPTY'
  | 'SUBSET_EMPTY'
  | 'POOL_UNKNOWN'
  | 'SHUTTING_DOWN'
  | 'CANCELLED'
  | 'ENDPOINT_FAILED'
  | 'ENDPOINT_TIMEOUT'
  | 'PORT_IN_USE'
  | 'START_FAILED'

/** The one error class of this package; `cause` keeps what led to it. */
export class SchedulerError extends Error {
  override readonly name = 'SchedulerError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
