/**
 * What a template computes with, as Python's values: `undefined` is Jinja's Undefined, `null` is None, a number is an int
 * (a bigint beyond 2^53), a `PyFloat` is a float, an array is a list, a `Map` is a dict.
 */
export type Value =
  | undefined
  | null
  | boolean
  | string
  | number
  | bigint
  | PyFloat
  | readonly Value[]
  | Map<Value, Value>
  | Namespace
  | Lazy
  | LoopState
  | Markup
  | Callable

/** A Python float; a JavaScript number cannot tell 1.0 from 1. */
export class PyFloat {
  readonly value: number

  constructor(value: number) {
    this.value = value
  }
}

/** A Python tuple, which is printed and compared otherwise than a list. */
export class Tuple extends Array<Value> {}

export function tupleOf(...items: readonly Value[]): Tuple {
  const tuple = new Tuple()
  for (const item of items) tuple.push(item)
  return tuple
}

/** Items of a generator or a dict's view: gone through like a list; what Python would refuse or print otherwise is refused. */
export class Lazy {
  readonly #items: readonly Value[]
  readonly #again: boolean
  #taken = false

  /** @param again whether they can be gone through more than once: a view, no generator */
  constructor(items: readonly Value[], again = false) {
    this.#items = items
    this.#again = again
  }

  /** A generator that has been gone through once is empty. */
  take(): readonly Value[] {
    if (this.#taken && !this.#again) return []
    this.#taken = true
    return this.#items
  }

  /** The number of items of a view; a generator has none. */
  get size(): number | undefined {
    return this.#again ? this.#items.length : undefined
  }
}

/** What `safe` and `escape` answer: a text that escapes those that are put to it. Anything else done to it is refused. */
export class Markup {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  /** Escapes a text that is not one of these (https://markupsafe.palletsprojects.com/en/stable/escaping/). */
  static escape(value: string | Markup): string {
    if (value instanceof Markup) return value.text
    return value.replace(/[&<>'"]/g, (character) => ENTITIES[character]!)
  }
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
}

/** The result of `namespace()`: the one thing whose attributes a template may set. */
export class Namespace {
  readonly fields = new Map<string, Value>()
}

/** The variable `loop` within a loop. */
export class LoopState {
  readonly items: readonly Value[]
  readonly depth: number
  at = 0
  changedTo: Value | typeof NOTHING = NOTHING

  constructor(items: readonly Value[], depth: number) {
    this.items = items
    this.depth = depth
  }
}
/** No value at all, not even Undefined. */
export const NOTHING: unique symbol = Symbol('nothing')

/** Arguments of a call. */
export interface Arguments {
  readonly positional: readonly Value[]
  readonly named: ReadonlyMap<string, Value>
}

/** A macro, a global function or a method. */
export class Callable {
  readonly call: (args: Arguments) => Value

  constructor(call: (args: Arguments) => Value) {
    this.call = call
  }
}

/** Why a template's text cannot be told: it refuses the chat, or does what is not followed here. */
export class TemplateError extends Error {}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value)
}

export function isNumber(value: Value): value is number | bigint | PyFloat | boolean {
  return (
    typeof value === 'number' ||
    typeof value === 'bigint' ||
    typeof value === 'boolean' ||
    value instanceof PyFloat
  )
}

export function numberOf(value: number | bigint | PyFloat | boolean): number {
  return value instanceof PyFloat ? value.value : Number(value)
}

/** Python's `bool()`. */
export function isTruthy(value: Value): boolean {
  if (typeof value !== 'object' || value === null) return Boolean(value)
  if (isList(value)) return value.length > 0
  if (value instanceof Map) return value.size > 0
  if (value instanceof PyFloat) return value.value !== 0
  if (value instanceof Lazy) return value.size !== 0
  if (value instanceof Markup) return value.text !== ''
  return Boolean(value)
}

/** Python's `==`. */
export function isEqual(a: Value, b: Value): boolean {
  if (typeof a === 'string' && typeof b === 'string') return a === b
  if (a instanceof Markup || b instanceof Markup) throw new TemplateError('a safe text is compared')
  if (isNumber(a) && isNumber(b)) {
    if (typeof a === 'bigint' || typeof b === 'bigint') {
      // Compared by value whatever their types are, as in Python.
      // biome-ignore lint/suspicious/noDoubleEquals: a bigint never equals a number otherwise
      return (a instanceof PyFloat ? a.value : a) == (b instanceof PyFloat ? b.value : b)
    }
    return numberOf(a) === numberOf(b)
  }
  if (isList(a) && isList(b)) {
    if (a instanceof Tuple !== b instanceof Tuple || a.length !== b.length) return false
    return a.every((item, i) => isEqual(item, b[i]))
  }
  if (a instanceof Map && b instanceof Map) {
    if (a.size !== b.size) return false
    for (const [key, value] of a) {
      if (!b.has(key) || !isEqual(value, b.get(key))) return false
    }
    return true
  }
  return a === b
}

/**
 * Python's `<` as a number below, at or above 0.
 *
 * @throws {TemplateError} for values that Python does not order
 */
export function compare(a: Value, b: Value): number {
  if (isNumber(a) && isNumber(b)) return numberOf(a) - numberOf(b)
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  if (isList(a) && isList(b) && a instanceof Tuple === b instanceof Tuple) {
    for (let i = 0; i < Math.min(a.length, b.length); i++) {
      if (!isEqual(a[i], b[i])) return compare(a[i], b[i])
    }
    return a.length - b.length
  }
  throw new TemplateError('values that have no order are compared')
}

/** By code points, as Python does; JavaScript orders by UTF-16 units. */
function compareText(a: string, b: string): number {
  if (a === b) return 0
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x === y) continue
    const xHigh = x >= 0xd800 && x < 0xe000
    const yHigh = y >= 0xd800 && y < 0xe000
    if (xHigh !== yHigh) return xHigh ? 1 : -1
    return x - y
  }
  return a.length - b.length
}

/** What a loop goes through. @throws {TemplateError} for what Python does not iterate over */
export function iterate(value: Value): readonly Value[] {
  if (isList(value)) return value
  if (value instanceof Map) return [...value.keys()]
  if (value instanceof Lazy) return value.take()
  if (typeof value === 'string') return Array.from(value)
  if (value === undefined) return []
  throw new TemplateError('a loop goes over what cannot be gone through')
}

const SURROGATES = /[\ud800-\udfff]/

/** Characters of a text as Python counts them. */
export function lengthOf(value: Value): number {
  if (typeof value === 'string')
    return SURROGATES.test(value) ? Array.from(value).length : value.length
  if (isList(value)) return value.length
  if (value instanceof Map) return value.size
  if (value === undefined) return 0
  const size = value instanceof Lazy ? value.size : undefined
  if (size === undefined) throw new TemplateError('the length of something without one is asked')
  return size
}

/** A text's characters by index and slice, as Python counts them. */
export function characters(text: string): readonly string[] {
  return SURROGATES.test(text) ? Array.from(text) : text.split('')
}
