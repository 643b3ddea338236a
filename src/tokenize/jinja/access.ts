import { bind } from './arguments.ts'
import { listMethod, textMethod } from './text-methods.ts'
import {
  Callable,
  characters,
  isEqual,
  isList,
  Lazy,
  LoopState,
  Markup,
  Namespace,
  NOTHING,
  TemplateError,
  Tuple,
  tupleOf,
  type Value,
} from './values.ts'

/** Methods of Python's dicts that a sandbox does not allow: the name then stands for nothing, not for a key. */
const FORBIDDEN = new Set(['clear', 'pop', 'popitem', 'setdefault', 'update'])

/** False for what a dict has by that name, or a sandbox does not allow. */
export function isItemName(name: string): boolean {
  return !FORBIDDEN.has(name) && dictMethod(EMPTY, name) === undefined
}

const EMPTY = new Map<Value, Value>()

/**
 * `a.b`: Python's attribute, else the item of that name.
 *
 * @throws {TemplateError} when `a` is Undefined
 */
export function attribute(value: Value, name: string): Value {
  if (value === undefined) throw new TemplateError(`${name} of what is not defined`)
  if (value instanceof Namespace) return value.fields.get(name)
  if (value instanceof LoopState) return loopAttribute(value, name)
  if (value instanceof Map) {
    if (FORBIDDEN.has(name)) return undefined
    return dictMethod(value, name) ?? value.get(name)
  }
  if (typeof value === 'string') return textMethod(value, name)
  if (isList(value)) return listMethod(value, name)
  if (value instanceof Markup) throw new TemplateError('a method of a safe text is called')
  return undefined
}

/**
 * `a[b]`: the item, else Python's attribute of that name.
 *
 * @throws {TemplateError} when `a` is Undefined
 */
export function item(value: Value, key: Value): Value {
  if (value === undefined) throw new TemplateError('an item of what is not defined')
  if (value instanceof Map) {
    if (value.has(key)) return value.get(key)
    return typeof key === 'string' ? attribute(value, key) : undefined
  }
  if (typeof key === 'string' || value instanceof Markup) return attribute(value, String(key))
  const at = typeof key === 'boolean' ? Number(key) : key
  if (typeof at !== 'number') return undefined
  if (isList(value)) return value.at(at)
  if (typeof value === 'string') return characters(value).at(at)
  return undefined
}

/** `a[from:to:step]` of a list or a text. */
export function slice(value: Value, from: Value, to: Value, step: Value): Value {
  const by = step === undefined || step === null ? 1 : bound(step)
  if (by === 0) throw new TemplateError('a slice has the step 0')
  if (value === undefined || value instanceof Markup) {
    throw new TemplateError('a part of what is not defined')
  }
  if (typeof value !== 'string' && !isList(value)) return undefined
  const all: readonly Value[] = typeof value === 'string' ? characters(value) : value
  const lowest = by > 0 ? 0 : -1
  const highest = by > 0 ? all.length : all.length - 1
  const index = (end: Value, otherwise: number): number => {
    if (end === undefined || end === null) return otherwise
    const at = bound(end)
    return Math.min(Math.max(at < 0 ? at + all.length : at, lowest), highest)
  }
  const start = index(from, by > 0 ? lowest : highest)
  const stop = index(to, by > 0 ? highest : lowest)
  const part: Value[] = value instanceof Tuple ? new Tuple() : []
  for (let i = start; by > 0 ? i < stop : i > stop; i += by) part.push(all[i])
  return typeof value === 'string' ? part.join('') : part
}

function bound(value: Value): number {
  if (typeof value === 'boolean') return Number(value)
  if (typeof value !== 'number')
    throw new TemplateError('a slice has a bound that is no whole number')
  return value
}

function dictMethod(dict: Map<Value, Value>, name: string): Callable | undefined {
  switch (name) {
    case 'get':
      return new Callable((args) => {
        const [key, otherwise = null] = bind(args, 'key', 'default')
        return dict.has(key) ? dict.get(key) : otherwise
      })
    case 'items':
      return view(() => Array.from(dict, ([key, value]) => tupleOf(key, value)))
    case 'keys':
      return view(() => [...dict.keys()])
    case 'values':
      return view(() => [...dict.values()])
    case 'copy':
      return method(() => new Map(dict))
    default:
      return undefined
  }
}

function view(items: () => Value[]): Callable {
  return method(() => new Lazy(items(), true))
}

/** A method without arguments. */
function method(answer: () => Value): Callable {
  return new Callable((args) => {
    bind(args)
    return answer()
  })
}

function loopAttribute(loop: LoopState, name: string): Value {
  const { at, items } = loop
  switch (name) {
    case 'index':
      return at + 1
    case 'index0':
      return at
    case 'revindex':
      return items.length - at
    case 'revindex0':
      return items.length - at - 1
    case 'first':
      return at === 0
    case 'last':
      return at === items.length - 1
    case 'length':
      return items.length
    case 'previtem':
      return items[at - 1]
    case 'nextitem':
      return items[at + 1]
    case 'depth':
      return loop.depth
    case 'depth0':
      return loop.depth - 1
    case 'cycle':
      return new Callable(({ positional }) => {
        if (positional.length === 0) throw new TemplateError('a cycle has no values')
        return positional[at % positional.length]
      })
    case 'changed':
      return new Callable(({ positional }) => {
        const value = tupleOf(...positional)
        const before = loop.changedTo
        loop.changedTo = value
        return before === NOTHING || !isEqual(before, value)
      })
    default:
      return undefined
  }
}
