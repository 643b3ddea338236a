import type { Duplex } from 'node:stream'
import { networkAddress } from '../framework/endpoint.ts'
import { SchedulerError } from '../framework/errors.ts'
import { answerCode } from '../framework/routing/error-answer.ts'
import { REQUEST_ID_HEADER, requestId } from '../framework/routing/headers.ts'
import type { Endpoints } from '../framework/services.ts'
import { type ClientRequest, type ClientResponse, endRawly } from './answer.ts'
import type { ApiKeys } from './api-keys.ts'
import { Exchange } from './exchange.ts'
import type { Exchanges } from './exchanges.ts'
import { checkBodyLength, type RequestHeaders, readRequestHeaders } from './headers.ts'
import type { ModelList } from './model-list.ts'

const NOTHING: ReadonlySet<string> = new Set()
/** Keys of the proxy are none of the engines' business. */
const CREDENTIALS: ReadonlySet<string> = new Set(['authorization', 'x-api-key'])
const JSON_TYPE = [['content-type', 'application/json']] as const
const TEXT_TYPE = [['content-type', 'text/plain; charset=utf-8']] as const

export interface FrontParts {
  readonly exchanges: Exchanges
  readonly endpoints: Endpoints
  readonly models: ModelList
  /** Undefined admits everybody. */
  readonly keys: ApiKeys | undefined
}

/** What a request meets first: limits, keys, and the pages that the proxy answers itself. */
export class Front {
  readonly #parts: FrontParts

  constructor(parts: FrontParts) {
    this.#parts = parts
  }

  readonly requested = (request: ClientRequest, response: ClientResponse) => {
    const { exchanges, keys } = this.#parts
    const headers = readRequestHeaders(
      request.rawHeaders,
      keys === undefined ? NOTHING : CREDENTIALS,
    )
    const id = requestId(headers.all)
    headers.all.set(REQUEST_ID_HEADER, id)
    headers.all.set(':path', request.url!)
    headers.all.set(':method', request.method!)
    const exchange = new Exchange(exchanges, request, response, id, headers)
    const path = pathOf(request.url!)
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    if (isRead && path === '/health') return this.#health(exchange)
    try {
      this.#check(headers)
    } catch (error) {
      return exchange.refuse(error)
    }
    if (isRead && path === '/v1/models') this.#models(exchange, headers)
    else exchange.start()
  }

  /** What is no request of HTTP, or did not come whole in time. */
  readonly misunderstood = (error: NodeJS.ErrnoException, socket: Duplex): void => {
    const { metrics, limits } = this.#parts.exchanges
    // It may have been answered, a response be under way on it, the client be gone, or not speak TLS.
    const isMute = error.code === 'ECONNRESET' || /^ERR_(SSL|TLS)_/.test(error.code ?? '')
    if (isMute || !socket.writable || isAnswering(socket)) {
      socket.destroy()
      return
    }
    const told = misunderstanding(error, limits.maxHeaderBytes)
    metrics.refused(answerCode(told))
    endRawly(socket, told)
  }

  /** @throws {SchedulerError} for a request that is not taken */
  #check({ all, bytes }: RequestHeaders): void {
    const { exchanges, keys } = this.#parts
    const { maxRequests, maxHeaderBytes, maxBodyBytes } = exchanges.limits
    if (exchanges.draining) {
      throw new SchedulerError('SHUTTING_DOWN', 'the endpoint picker is shutting down; try again')
    }
    if (exchanges.active > maxRequests) {
      const text = `${maxRequests} requests are in progress, as many as --max-requests allows; try again`
      throw new SchedulerError('REQUESTS_FULL', text)
    }
    if (bytes > maxHeaderBytes) throw headersTooLarge(maxHeaderBytes)
    if (keys !== undefined && !keys.admits(all)) {
      const text = 'no valid API key; send one that this proxy knows as "authorization: Bearer KEY"'
      throw new SchedulerError('UNAUTHORIZED', text)
    }
    const upgrade = all.get('upgrade')
    // Clients that would like HTTP/2 may be answered in HTTP/1.1 (RFC 9110, 7.8).
    if (upgrade !== undefined && upgrade.toLowerCase() !== 'h2c') {
      const text = `the upgrade to "${upgrade.slice(0, 100)}" is not supported; send plain requests`
      throw new SchedulerError('BAD_REQUEST', text)
    }
    checkBodyLength(all, maxBodyBytes)
  }

  #health(exchange: Exchange): void {
    const { endpoints, exchanges } = this.#parts
    const all = endpoints.list()
    const out = exchanges.ejections.avoid
    const well =
      out === undefined
        ? all.length
        : all.filter((e) => !out.has(networkAddress(e.hostPort))).length
    const isWell = well > 0 && !exchanges.draining
    const text = exchanges.draining
      ? 'shutting down'
      : `${well} of ${all.length} endpoints reachable`
    exchange.answer(isWell ? 200 : 503, TEXT_TYPE, `${text}\n`)
  }

  #models(exchange: Exchange, { all }: RequestHeaders): void {
    const { models, keys } = this.#parts
    const authorization = keys === undefined ? all.get('authorization') : undefined
    models.json(authorization).then(
      (json) => {
        if (json !== undefined) return exchange.answer(200, JSON_TYPE, json)
        const text = 'no model server answered /v1/models; try again'
        exchange.refuse(new SchedulerError('POOL_EMPTY', text))
      },
      (error: unknown) => exchange.refuse(error),
    )
  }
}

function headersTooLarge(maxHeaderBytes: number): SchedulerError {
  const text = `the request's headers take more than ${maxHeaderBytes} bytes (--max-header-kib); send fewer or shorter ones`
  return new SchedulerError('HEADERS_TOO_LARGE', text)
}

function misunderstanding(error: NodeJS.ErrnoException, maxHeaderBytes: number): SchedulerError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return headersTooLarge(maxHeaderBytes)
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new SchedulerError(
        'REQUEST_TIMEOUT',
        "the request's headers did not come in time; send them without a pause",
      )
    default:
      return new SchedulerError(
        'BAD_REQUEST',
        error.message === 'CONNECT'
          ? 'CONNECT is not supported; send plain requests'
          : `the request is not HTTP: ${error.message}`,
      )
  }
}

/** True while a response is being written to the connection. */
function isAnswering(socket: Duplex): boolean {
  const { _httpMessage: response } = socket as { _httpMessage?: { readonly headersSent: boolean } }
  return response?.headersSent === true
}

function pathOf(url: string): string {
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}
