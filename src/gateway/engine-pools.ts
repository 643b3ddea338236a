import { Pool } from 'undici'
import { networkAddress } from '../framework/endpoint.ts'
import type { Endpoints } from '../framework/services.ts'
import type { EjectionReason } from './ejections.ts'

/** How model servers are spoken to. */
export interface EngineTimeouts {
  /** Longest time for a connection. */
  readonly connectTimeoutMs: number
  /** Longest time from the request to the response's headers: the engine's queue and, without streaming, the whole answer. */
  readonly headersTimeoutMs: number
  /** Longest silence within a response. */
  readonly idleTimeoutMs: number
}

/** Below the five seconds after which uvicorn closes an idle connection. */
const KEEP_ALIVE_MS = 4000

/** Connections to the model servers, made when they are first needed and closed when their last endpoint goes. */
export class EnginePools {
  readonly #timeouts: EngineTimeouts
  readonly #pools = new Map<string, Pool>()
  readonly #stopListening: () => void

  constructor(endpoints: Endpoints, timeouts: EngineTimeouts) {
    this.#timeouts = timeouts
    this.#stopListening = endpoints.listen({
      removed: ({ hostPort }) => {
        const address = networkAddress(hostPort)
        const pool = this.#pools.get(address)
        if (pool === undefined) return
        if (endpoints.list().some((left) => networkAddress(left.hostPort) === address)) return
        this.#pools.delete(address)
        // Responses that are under way end as they would.
        void pool.close()
      },
    })
  }

  /** @param endpoint `host:port` */
  get(endpoint: string): Pool {
    let pool = this.#pools.get(endpoint)
    if (pool === undefined) {
      const { connectTimeoutMs, headersTimeoutMs, idleTimeoutMs } = this.#timeouts
      pool = new Pool(`http://${endpoint}`, {
        connect: { timeout: connectTimeoutMs, noDelay: true },
        headersTimeout: headersTimeoutMs,
        bodyTimeout: idleTimeoutMs,
        keepAliveTimeout: KEEP_ALIVE_MS,
        pipelining: 1,
      })
      this.#pools.set(endpoint, pool)
    }
    return pool
  }

  /** Breaks all connections. */
  async close(): Promise<void> {
    this.#stopListening()
    const pools = [...this.#pools.values()]
    this.#pools.clear()
    await Promise.all(pools.map((pool) => pool.destroy()))
  }
}

/** Why an engine did not answer. */
export type EngineFault = EjectionReason | 'timeout' | 'invalid'

const REFUSED = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'UND_ERR_CONNECT_TIMEOUT',
])

/** @param error as undici tells it */
export function engineFault(error: Error): {
  readonly fault: EngineFault
  readonly detail: string
} {
  const { code } = error as NodeJS.ErrnoException
  const detail = code ?? error.message
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') {
    return { fault: 'timeout', detail }
  }
  if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') {
    return { fault: 'invalid', detail: error.message }
  }
  return { fault: code !== undefined && REFUSED.has(code) ? 'refused' : 'reset', detail }
}

/** A small answer of an engine, or why there is none. */
export type SmallAnswer =
  | { readonly status: number; readonly body: Buffer }
  | { readonly problem: string }

/** The answer to one GET; never rejects. */
export async function getSmall(
  pool: Pool,
  path: string,
  headers: Readonly<Record<string, string>>,
  { timeoutMs, maxBytes }: { readonly timeoutMs: number; readonly maxBytes: number },
): Promise<SmallAnswer> {
  try {
    const signal = AbortSignal.timeout(timeoutMs)
    const { statusCode, body } = await pool.request({ method: 'GET', path, headers, signal })
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of body as AsyncIterable<Buffer>) {
      bytes += chunk.length
      // Leaving the loop breaks the connection.
      if (bytes > maxBytes) return { problem: `its ${path} has more than ${maxBytes} bytes` }
      chunks.push(chunk)
    }
    return { status: statusCode, body: Buffer.concat(chunks) }
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException
    const isLate = name === 'TimeoutError'
    return { problem: isLate ? `no answer from ${path} in ${timeoutMs} ms` : (code ?? message) }
  }
}
