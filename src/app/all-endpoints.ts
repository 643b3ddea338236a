import type { Endpoint } from '../framework/endpoint.ts'
import type { EndpointListener, Endpoints } from '../framework/services.ts'

/** The endpoints of several pools as one set, whichever pools there are; pools come with `add` and go when theirs are empty. */
export class AllEndpoints implements Endpoints {
  readonly #pools = new Map<Endpoints, Map<EndpointListener, () => void>>()
  readonly #listeners = new Set<EndpointListener>()
  #lists: readonly (readonly Endpoint[])[] = []
  #all: readonly Endpoint[] = []

  add(pool: Endpoints): void {
    this.#pools.set(pool, new Map())
    for (const listener of this.#listeners) this.#follow(pool, listener)
  }

  /** Its endpoints must have been removed before. */
  remove(pool: Endpoints): void {
    for (const stop of this.#pools.get(pool)?.values() ?? []) stop()
    this.#pools.delete(pool)
  }

  list(): readonly Endpoint[] {
    const lists = Array.from(this.#pools.keys(), (pool) => pool.list())
    if (lists.length === 1) return lists[0]!
    const isSame =
      lists.length === this.#lists.length && lists.every((l, i) => l === this.#lists[i])
    if (!isSame) {
      this.#lists = lists
      this.#all = lists.flat()
    }
    return this.#all
  }

  listen(listener: EndpointListener): () => void {
    this.#listeners.add(listener)
    for (const pool of this.#pools.keys()) this.#follow(pool, listener)
    return () => {
      this.#listeners.delete(listener)
      for (const following of this.#pools.values()) {
        following.get(listener)?.()
        following.delete(listener)
      }
    }
  }

  #follow(pool: Endpoints, listener: EndpointListener): void {
    this.#pools.get(pool)!.set(listener, pool.listen(listener))
  }
}
