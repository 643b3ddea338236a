import { isDeepStrictEqual } from 'node:util'
import { type Fault, isFault } from './objects/field.ts'
import type { WatchLog } from './watch-report.ts'

/** One object as it came: its value, or why it has none. */
export interface Arrival<T> {
  readonly name: string
  readonly uid: string
  readonly value: T | Fault
}

/**
 * The objects of one collection as they are known, by name.
 *
 * An object that cannot be read keeps its last good value, unless it is another object under the same name.
 */
export class HeldObjects<T> {
  readonly #read: (object: unknown) => T | Fault
  readonly #log: WatchLog
  readonly #held = new Map<string, { readonly uid: string; readonly value: T | undefined }>()
  #values: readonly T[] | undefined
  #version = 0

  constructor(read: (object: unknown) => T | Fault, log: WatchLog) {
    this.#read = read
    this.#log = log
  }

  /** Changes with every change of a value. */
  get version(): number {
    return this.#version
  }

  get(name: string): T | undefined {
    return this.#held.get(name)?.value
  }

  /** The same array until something changes. */
  values(): readonly T[] {
    this.#values ??= [...this.#held.values()].flatMap(({ value }) => value ?? [])
    return this.#values
  }

  /** What an untrusted object is; undefined when it has no name or uid. */
  arrival(object: unknown): Arrival<T> | undefined {
    const { metadata } = (object ?? {}) as { metadata?: { name?: unknown; uid?: unknown } }
    const { name, uid } = metadata ?? {}
    if (typeof name !== 'string' || name === '' || typeof uid !== 'string') return undefined
    return { name, uid, value: this.#read(object) }
  }

  put({ name, uid, value }: Arrival<T>): void {
    const before = this.#held.get(name)
    const last = before?.uid === uid ? before.value : undefined
    const now = isFault(value) ? last : value
    this.#log.fault(name, isFault(value) ? value.fault : undefined)
    this.#held.set(name, { uid, value: now })
    if (before === undefined ? now !== undefined : !isDeepStrictEqual(before.value, now)) {
      this.#changed()
    }
  }

  remove(name: string): void {
    const before = this.#held.get(name)
    if (before === undefined) return
    this.#held.delete(name)
    this.#log.fault(name, undefined)
    if (before.value !== undefined) this.#changed()
  }

  /** States all objects there are. */
  replace(arrivals: readonly Arrival<T>[]): void {
    const names = new Set(arrivals.map(({ name }) => name))
    for (const name of [...this.#held.keys()]) if (!names.has(name)) this.remove(name)
    for (const arrival of arrivals) this.put(arrival)
  }

  #changed(): void {
    this.#values = undefined
    this.#version++
  }
}
