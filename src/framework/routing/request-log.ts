import type { Endpoint } from '../endpoint.ts'
import type { ErrorCode, SchedulerError } from '../errors.ts'
import type { ScorerReport } from '../plugin.ts'
import type { InferenceRequest } from '../request.ts'
import type { Logger } from '../services.ts'
import type { Decision } from './decision.ts'

/** Which requests are logged: all, none, or one in N. */
export type RequestLogMode = 'on' | 'off' | { readonly sampled: number }

/** What one scorer wants in the log. */
export interface NamedReport {
  readonly name: string
  readonly report: ScorerReport
}

/** An endpoint in a log line: an object in JSON, Go's struct notation in text, as operators grep it. */
export class LoggedEndpoint {
  readonly NamespacedName: string
  readonly Address: string
  readonly Labels: Readonly<Record<string, string>>

  constructor({ namespace, name, address, labels }: Endpoint) {
    this.NamespacedName = `${namespace}/${name}`
    this.Address = address
    this.Labels = Object.fromEntries(labels)
  }

  /** The form that the text log shows. */
  toText(): string {
    const labels = Object.keys(this.Labels)
      .sort()
      .map((key) => `${key}:${this.Labels[key]}`)
    return `{NamespacedName:${this.NamespacedName} Address:${this.Address} Labels:map[${labels.join(' ')}]}`
  }
}

/** What each line about a request begins with, to be added to: that takes a fraction of what spreading it takes. */
function fieldsOf(request: InferenceRequest): Record<string, unknown> {
  return {
    'x-request-id': request.id,
    model: request.model,
    resolvedTargetModel: request.targetModel,
    criticality: request.criticality,
  }
}

/** Writes the lines about single requests, under the names and fields that operators grep. */
export class RequestLog {
  readonly #logger: Logger
  /** For what is said of the request as a whole. */
  readonly #director: Logger
  readonly #every: number
  #count = 0

  constructor(logger: Logger, mode: RequestLogMode) {
    this.#logger = logger
    this.#director = logger.named('director')
    this.#every = mode === 'on' ? 1 : mode === 'off' ? 0 : mode.sampled
  }

  /** True when the next handled request will be logged. */
  get enabled(): boolean {
    return this.#every > 0 && this.#count % this.#every === 0
  }

  handled(
    request: InferenceRequest,
    decision: Decision,
    target: Endpoint,
    reports: readonly NamedReport[],
  ): void {
    const enabled = this.enabled
    this.#count++
    if (!enabled) return
    for (const { name, report } of reports) {
      const { message, fields: said } = report
      const fields = fieldsOf(request)
      for (const key in said) fields[key] = said[key]
      this.#logger.named(name).info(message, fields)
    }
    const fields = fieldsOf(request)
    fields.targetModel = decision.targetModel
    fields.endpoint = new LoggedEndpoint(target)
    if (decision.remark !== undefined) fields.remark = decision.remark
    this.#director.info('Request handled', fields)
  }

  failed(requestId: string, code: ErrorCode, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    const fields = { 'x-request-id': requestId, code, error: message }
    if (code === 'PLUGIN_FAILED' || code === 'PLUGIN_CONTRACT') {
      this.#director.error('Request failed', fields)
    } else this.#director.debug('Request refused', fields)
  }

  producerFailed(requestId: string, error: SchedulerError): void {
    this.#logger
      .named('director')
      .warnOnce(error.message, 'Producer failed; picking without its data', {
        'x-request-id': requestId,
        error: error.message,
      })
  }

  ended(request: InferenceRequest, decision: Decision, target: Endpoint): void {
    this.#director.debug('Request ended', {
      'x-request-id': request.id,
      reason: decision.ended,
      status: decision.status,
      endpoint: target.hostPort,
      predictedCachedTokens: decision.predictedCachedTokens,
      cachedTokens: decision.usage?.cachedTokens,
    })
  }
}
