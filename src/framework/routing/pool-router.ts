import type { Cancellation } from '../cancellation.ts'
import { SchedulerError } from '../errors.ts'
import type { GatewayCall, IncomingRequest, Routed, Router } from '../services.ts'

/** A pool that requests can be routed to. */
export interface RoutedPool {
  /** `namespace/name`. */
  readonly name: string
  /** Service by which gateways call the picker of this pool; undefined when the pool does not say. */
  readonly pickerService: string | undefined
  readonly router: Router
}

/**
 * Hands each request to the pool that the gateway's call is for.
 *
 * A single pool gets every request. Among several, the call's metadata `x-epp-pool` decides, else the Service in its
 * `:authority`: the one that the pool names as its picker, `<pool>-epp`, `epp-<namespace>-<pool>`, or the pool's name. What
 * a client sends, such as a header of its request, is never looked at.
 */
export class PoolRouter implements Router {
  readonly #pools: () => readonly RoutedPool[]

  constructor(pools: () => readonly RoutedPool[]) {
    this.#pools = pools
  }

  async route(request: IncomingRequest, cancellation: Cancellation): Promise<Routed> {
    return this.#poolOf(request.call).router.route(request, cancellation)
  }

  mayWatchResponse(call: GatewayCall | undefined): boolean {
    const pools = this.#pools().filter((pool, _, all) => all.length === 1 || isMeant(pool, call))
    return pools.length !== 1 || pools[0]!.router.mayWatchResponse(call)
  }

  /** @throws {SchedulerError} POOL_UNKNOWN; POOL_EMPTY when there is no pool at all */
  #poolOf(call: GatewayCall | undefined): RoutedPool {
    const pools = this.#pools()
    if (pools.length === 1) return pools[0]!
    if (pools.length === 0) throw new SchedulerError('POOL_EMPTY', 'no InferencePool is known')
    const found = pools.filter((pool) => isMeant(pool, call))
    if (found.length === 1) return found[0]!
    const names = pools.map(({ name }) => name).join(', ')
    if (call === undefined) {
      throw new SchedulerError(
        'POOL_UNKNOWN',
        `the pools ${names} are served, and a request that comes from no gateway names none; serve one of them (--pool-name)`,
      )
    }
    const given =
      call.pool === undefined ? `authority "${call.authority}"` : `x-epp-pool "${call.pool}"`
    throw new SchedulerError(
      'POOL_UNKNOWN',
      `the gateway's call with ${given} names ${found.length === 0 ? 'none' : 'more than one'} of the pools ${names}; ` +
        'call each pool by its own Service, or set the initial metadata x-epp-pool to namespace/name',
    )
  }
}

function isMeant({ name, pickerService }: RoutedPool, call: GatewayCall | undefined): boolean {
  const [namespace, pool] = name.split('/') as [string, string]
  if (call?.pool !== undefined) return call.pool === name || call.pool === pool
  const service = call?.authority.split(/[.:]/, 1)[0]
  return (
    service !== undefined &&
    service !== '' &&
    [pickerService, `${pool}-epp`, `epp-${namespace}-${pool}`, pool].includes(service)
  )
}
