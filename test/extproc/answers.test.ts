import assert from 'node:assert/strict'
import { immediateErrorAnswer } from '../../src/extproc/answers.ts'
import { type ErrorCode, SchedulerError } from '../../src/framework/errors.ts'
import { processMethod, setHeaders, unframed } from './client.ts'

const REASON = 'x-llm-d-request-dropped-reason'

describe('immediateErrorAnswer', () => {
  const table: Record<ErrorCode, [number, string, string | undefined]> = {
    BAD_REQUEST: [400, 'invalid_request_error', undefined],
    UNAUTHORIZED: [401, 'invalid_request_error', undefined],
    REQUEST_TIMEOUT: [408, 'invalid_request_error', undefined],
    HEADERS_TOO_LARGE: [431, 'invalid_request_error', undefined],
    ENDPOINT_FAILED: [502, 'server_error', undefined],
    ENDPOINT_TIMEOUT: [504, 'server_error', undefined],
    MODEL_MISSING: [400, 'invalid_request_error', undefined],
    MODEL_UNKNOWN: [404, 'invalid_request_error', undefined],
    BODY_TOO_LARGE: [413, 'invalid_request_error', undefined],
    NO_ENDPOINTS: [429, 'rate_limit_error', 'rejected-saturated'],
    BUFFERS_FULL: [503, 'server_error', 'rejected-saturated'],
    REQUESTS_FULL: [503, 'server_error', 'rejected-saturated'],
    POOL_EMPTY: [503, 'server_error', 'rejected-no-endpoints'],
    SUBSET_EMPTY: [503, 'server_error', 'rejected-no-endpoints'],
    POOL_UNKNOWN: [503, 'server_error', 'rejected-no-endpoints'],
    SHUTTING_DOWN: [503, 'server_error', 'rejected-shutting-down'],
    CANCELLED: [503, 'server_error', 'rejected-context-cancelled'],
    CONFIG_INVALID: [500, 'server_error', undefined],
    SERVICE_MISSING: [500, 'server_error', undefined],
    SERVICE_CYCLE: [500, 'server_error', undefined],
    PLUGIN_CONTRACT: [500, 'server_error', undefined],
    PLUGIN_FAILED: [500, 'server_error', undefined],
    PORT_IN_USE: [500, 'server_error', undefined],
    START_FAILED: [500, 'server_error', undefined],
  }
  for (const [code, [status, type, reason]] of Object.entries(table)) {
    it(`answers ${code} with ${status}`, () => {
      const error = new SchedulerError(code as ErrorCode, 'why "ü"')
      const answer = processMethod.responseDeserialize(unframed(immediateErrorAnswer(error)))
      assert.equal(answer.immediateResponse?.status.code, status)
      assert.deepEqual(JSON.parse(String(answer.immediateResponse?.body)), {
        error: {
          message: 'why "ü"',
          type,
          code: code === 'UNAUTHORIZED' ? 'invalid_api_key' : code,
        },
      })
      const headers = setHeaders(answer)
      assert.equal(headers['content-type'], 'application/json')
      assert.equal(headers['retry-after'], status === 429 || status === 503 ? '1' : undefined)
      assert.equal(headers[REASON], reason)
      assert.equal(answer.immediateResponse?.details, `epp_${code.toLowerCase()}`)
    })
  }
})
