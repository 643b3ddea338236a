/** What can be in one ring at a time, which alone writes these fields. */
export interface Linked {
  /** Where it is; undefined when it is in none. */
  ring: Ring | undefined
  previous: Linked | undefined
  next: Linked | undefined
}

/** A queue from which anything can be taken out. */
export class Ring<T extends Linked = Linked> {
  #first: T | undefined
  #last: T | undefined

  /** The one that was added before all others; undefined when the ring is empty. */
  get first(): T | undefined {
    return this.#first
  }

  /** Adds one that is in no ring, at the end. */
  push(item: T): void {
    item.ring = this
    item.previous = this.#last
    if (this.#last === undefined) this.#first = item
    else this.#last.next = item
    this.#last = item
  }

  /** Takes out one that is in this ring. */
  remove(item: T): void {
    const { previous, next } = item
    if (previous === undefined) this.#first = next as T | undefined
    else previous.next = next
    if (next === undefined) this.#last = previous as T | undefined
    else next.previous = previous
    item.ring = item.previous = item.next = undefined
  }
}
