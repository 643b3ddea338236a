import type { ConfiguredProducer } from '../build.ts'
import type { Endpoint } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import { isRefusal } from '../on-error.ts'
import type { InferenceRequest } from '../request.ts'

/** The longest delay of a timer. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Has producers make the request's data, one after the other.
 *
 * @param failed told of each that failed or took too long; the request goes on without its data
 * @throws {SchedulerError} with which a producer refuses the request
 */
export async function produceAll(
  producers: readonly ConfiguredProducer[],
  request: InferenceRequest,
  endpoints: readonly Endpoint[],
  signal: AbortSignal,
  failed: (error: SchedulerError) => void,
): Promise<void> {
  for (const producer of producers) {
    const { probe, key } = producer
    const startMs = performance.now()
    let isOver: true | undefined
    try {
      const value = produce(producer, request, endpoints, signal, () => {
        isOver = true
      })
      request.attributes.set(key, value instanceof Promise ? await value : value)
    } catch (cause) {
      const error = probe.failed(cause)
      if (isRefusal(error) && !producer.isShadow) throw error
      failed(error)
    } finally {
      probe.spent(performance.now() - startMs, isOver)
    }
  }
}

/** The value; when the producer's time is over, `over` is called, a promise of it rejects, and its signal fires. */
function produce(
  { name, plugin, probe }: ConfiguredProducer,
  request: InferenceRequest,
  endpoints: readonly Endpoint[],
  signal: AbortSignal,
  over: () => void,
): unknown {
  const { timeBudgetMs } = probe
  if (timeBudgetMs === undefined) return plugin.produce(request, endpoints, signal)
  const limit = new AbortController()
  const value = plugin.produce(request, endpoints, AbortSignal.any([signal, limit.signal]))
  if (!(value instanceof Promise)) return value
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => {
        over()
        const text = `producer "${name}" took longer than its timeBudgetMs of ${timeBudgetMs}`
        const error = new SchedulerError('PLUGIN_FAILED', text)
        reject(error)
        limit.abort(error)
      },
      Math.min(timeBudgetMs, MAX_TIMER_MS),
    )
    void value.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
