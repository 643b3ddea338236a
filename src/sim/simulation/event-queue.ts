/** Things to happen, by time; those of one moment in the order in which they were put in. A binary heap. */
export class EventQueue<T> {
  readonly #timesMs: number[] = []
  readonly #numbers: number[] = []
  readonly #events: T[] = []
  #added = 0

  get size(): number {
    return this.#events.length
  }

  /** When the next thing happens; Infinity when nothing does. */
  get nextMs(): number {
    return this.#timesMs[0] ?? Number.POSITIVE_INFINITY
  }

  add(atMs: number, event: T): void {
    let at = this.#events.length
    this.#timesMs.push(atMs)
    this.#numbers.push(this.#added++)
    this.#events.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#isBefore(at, parent)) break
      this.#swap(at, parent)
      at = parent
    }
  }

  /** Takes the next thing out; undefined when there is none. */
  take(): T | undefined {
    const last = this.#events.length - 1
    if (last < 0) return undefined
    this.#swap(0, last)
    this.#timesMs.pop()
    this.#numbers.pop()
    const event = this.#events.pop()
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= last) return event
      if (child + 1 < last && this.#isBefore(child + 1, child)) child++
      if (!this.#isBefore(child, at)) return event
      this.#swap(at, child)
      at = child
    }
  }

  #isBefore(a: number, b: number): boolean {
    const byTime = this.#timesMs[a]! - this.#timesMs[b]!
    return byTime < 0 || (byTime === 0 && this.#numbers[a]! < this.#numbers[b]!)
  }

  #swap(a: number, b: number): void {
    for (const list of [this.#timesMs, this.#numbers, this.#events] as unknown[][]) {
      const held = list[a]
      list[a] = list[b]
      list[b] = held
    }
  }
}
