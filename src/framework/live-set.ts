/** What can be in one `LiveSet` at a time. */
export interface Live {
  /** Where the set keeps it; -1 while it is in none. */
  slot: number
}

/**
 * What is under way: a set whose members come and go with each request.
 *
 * A `Set` replaces its table every few dozen members. A dropped table that has grown old keeps the members that were in it
 * and the table after it alive, and so on, until all old objects are collected: hence nearly each request would grow old.
 */
export class LiveSet<T extends Live> {
  readonly #members: T[] = []

  get size(): number {
    return this.#members.length
  }

  add(member: T): void {
    if (member.slot < 0) member.slot = this.#members.push(member) - 1
  }

  /** False where it was not in the set. */
  delete(member: T): boolean {
    const { slot } = member
    if (slot < 0 || this.#members[slot] !== member) return false
    member.slot = -1
    const last = this.#members.pop()!
    if (last !== member) {
      this.#members[slot] = last
      last.slot = slot
    }
    return true
  }

  /** Those that are in it now, in no order, in an array of the caller's own. */
  all(): T[] {
    return this.#members.slice()
  }
}
