import type { ConfiguredProducer } from '../build.ts'
import { Cancellation } from '../cancellation.ts'
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
  cancellation: Cancellation,
  failed: (error: SchedulerError) => void,
): Promise<void> {
  for (const producer of producers) {
    const { probe, key } = producer
    const startMs = performance.now()
    let isOver: true | undefined
    try {
      const value = produce(producer, request, endpoints, cancellation, () => {
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

/** The value; when the producer's time is over, `over` is called, a promise of it rejects, and it is cancelled. */
function produce(
  { name, plugin, probe }: ConfiguredProducer,
  request: InferenceRequest,
  endpoints: readonly Endpoint[],
  cancellation: Cancellation,
  over: () => void,
): unknown {
  const { timeBudgetMs } = probe
  if (timeBudgetMs === undefined) return plugin.produce(request, endpoints, cancellation)
  const limit = Cancellation.following(cancellation.signal)
  const value = plugin.produce(request, endpoints, limit)
  if (!(value instanceof Promise)) return value
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => {
        over()
        const text = `producer "${name}" took longer than its timeBudgetMs of ${timeBudgetMs}`
        const error = new SchedulerError('PLUGIN_FAILED', text)
        reject(error)
        limit.cancel(error)
      },
      Math.min(timeBudgetMs, MAX_TIMER_MS),
    )
    void value.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
