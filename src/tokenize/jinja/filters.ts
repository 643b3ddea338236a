import { bind, integerArgument, textArgument } from './arguments.ts'
import { type JsonStyle, toJson, toText } from './printing.ts'
import { holds, testNamed } from './tests.ts'
import { capitalized, joinAll, replaceText, SPACE, splitLines, strip } from './text-methods.ts'
import {
  type Arguments,
  compare,
  isEqual,
  isList,
  isNumber,
  isTruthy,
  iterate,
  Lazy,
  lengthOf,
  Markup,
  numberOf,
  PyFloat,
  TemplateError,
  type Tuple,
  tupleOf,
  type Value,
} from './values.ts'

/** Reads an attribute or an item as `a.b` in a template does. */
export type Getter = (value: Value, name: Value) => Value

/** A filter of Jinja (https://jinja.palletsprojects.com/en/stable/templates/#list-of-builtin-filters). */
export type Filter = (value: Value, args: Arguments, get: Getter) => Value

/** A filter without arguments. */
function plain(filter: (value: Value) => Value): Filter {
  return (value, args) => {
    bind(args)
    return filter(value)
  }
}

const WORD_BORDER = new RegExp(`([-({[<${SPACE}]+)`)

const FILTERS: Readonly<Record<string, Filter>> = {
  safe: plain(marked),
  escape: plain(escaped),
  e: plain(escaped),
  string: plain((value) => toText(value)),
  tojson: (value, args) => toJson(value, jsonStyle(args)),
  length: plain((value) => lengthOf(value)),
  count: plain((value) => lengthOf(value)),
  list: plain((value) => [...iterate(value)]),
  first: plain((value) => iterate(value)[0]),
  last: plain((value) => sequence(value).at(-1)),
  reverse: (value, args) => {
    bind(args)
    const reversed = [...sequence(value)].reverse()
    return typeof value === 'string' ? reversed.join('') : new Lazy(reversed)
  },
  trim: (value, args) => {
    const [set] = bind(args, 'chars')
    const chars = set === undefined || set === null ? undefined : textArgument(set)
    return strip(toText(value), chars, true, true)
  },
  upper: plain((value) => toText(value).toUpperCase()),
  lower: plain((value) => toText(value).toLowerCase()),
  capitalize: plain((value) => capitalized(toText(value))),
  title: (value, args) => {
    bind(args)
    const parts = toText(value).split(WORD_BORDER)
    return parts.map(capitalized).join('')
  },
  replace: (value, args) => {
    const [from, to, count] = bind(args, 'old', 'new', 'count')
    const most = count === null ? -1 : integerArgument(count, -1)
    return replaceText(toText(value), toText(from), toText(to), most)
  },
  indent: (value, args) => indented(toText(value), args),
  join: (value, args, get) => {
    const [separator, attribute] = bind(args, 'd', 'attribute')
    const items = iterate(value)
    const joined = attribute === undefined ? items : items.map((item) => path(item, attribute, get))
    return joinAll(joined, separator === undefined ? '' : toText(separator))
  },
  default: withDefault,
  d: withDefault,
  int: (value, args) => toInteger(value, bind(args, 'default', 'base')),
  float: (value, args) => {
    const [otherwise] = bind(args, 'default')
    const number = numeric(value)
    return number === undefined ? (otherwise ?? new PyFloat(0)) : new PyFloat(number)
  },
  abs: (value, args) => {
    bind(args)
    if (value instanceof PyFloat) return new PyFloat(Math.abs(value.value))
    if (typeof value !== 'number') throw new TemplateError('abs of what is no number')
    return Math.abs(value)
  },
  items: (value, args) => {
    bind(args)
    if (value === undefined) return new Lazy([])
    return new Lazy([...mapping(value)].map(([key, item]) => tupleOf(key, item)))
  },
  dictsort: (value, args) => {
    const [caseSensitive, by, reverse] = bind(args, 'case_sensitive', 'by', 'reverse')
    const at = by === 'value' ? 1 : 0
    const pairs = [...mapping(value)].map(([key, item]) => tupleOf(key, item))
    return sorted(pairs, (pair) => (pair as Tuple)[at], caseSensitive === true, reverse === true)
  },
  sort: (value, args, get) => {
    const [reverse, caseSensitive, attribute] = bind(args, 'reverse', 'case_sensitive', 'attribute')
    if (typeof attribute === 'string' && attribute.includes(',')) {
      throw new TemplateError('sorting by several attributes is not followed')
    }
    const key = (item: Value): Value =>
      attribute === undefined || attribute === null ? item : path(item, attribute, get)
    return sorted(iterate(value), key, caseSensitive === true, reverse === true)
  },
  unique: (value, args, get) => {
    const [caseSensitive, attribute] = bind(args, 'case_sensitive', 'attribute')
    const seen: Value[] = []
    const kept = iterate(value).filter((item) => {
      const raw = attribute === undefined ? item : path(item, attribute, get)
      const key = caseSensitive === true ? raw : folded(raw)
      if (seen.some((one) => isEqual(one, key))) return false
      seen.push(key)
      return true
    })
    return new Lazy(kept)
  },
  min: (value, args) => extreme(value, args, -1),
  max: (value, args) => extreme(value, args, 1),
  sum: (value, args, get) => {
    const [attribute] = bind(args, 'attribute')
    const numbers = iterate(value).map((item) =>
      attribute === undefined ? item : path(item, attribute, get),
    )
    if (!numbers.every((number) => typeof number === 'number')) {
      throw new TemplateError('a sum of what are no whole numbers')
    }
    return (numbers as readonly number[]).reduce((a, b) => a + b, 0)
  },
  map: (value, args, get) => {
    const items = itemsOf(value)
    const attribute = args.named.get('attribute')
    if (args.positional.length === 0 && attribute !== undefined) {
      const otherwise = args.named.get('default')
      return new Lazy(items.map((item) => path(item, attribute, get) ?? otherwise))
    }
    const [name, ...positional] = args.positional
    const filter = filterNamed(textArgument(name))
    const rest = { positional, named: args.named }
    return new Lazy(items.map((item) => filter(item, rest, get)))
  },
  select: (value, args) => new Lazy(itemsOf(value).filter((item) => passes(item, args, 0))),
  reject: (value, args) => new Lazy(itemsOf(value).filter((item) => !passes(item, args, 0))),
  selectattr: (value, args, get) =>
    new Lazy(itemsOf(value).filter((item) => passes(path(item, args.positional[0], get), args, 1))),
  rejectattr: (value, args, get) =>
    new Lazy(
      itemsOf(value).filter((item) => !passes(path(item, args.positional[0], get), args, 1)),
    ),
}

/** Filters that take the text that `safe` answers as it is. */
const TAKE_MARKUP = new Set(['d', 'default', 'e', 'escape', 'safe'])

/** @throws {TemplateError} when Jinja has none of that name or it is not followed */
export function filterNamed(name: string): Filter {
  if (!Object.hasOwn(FILTERS, name)) throw new TemplateError(`the filter ${name} is not followed`)
  const filter = FILTERS[name]!
  if (TAKE_MARKUP.has(name)) return filter
  return (value, args, get) => {
    if (value instanceof Markup) throw new TemplateError('a safe text is filtered')
    return filter(value, args, get)
  }
}

function marked(value: Value): Value {
  return value instanceof Markup ? value : new Markup(toText(value))
}

function escaped(value: Value): Value {
  return value instanceof Markup ? value : new Markup(Markup.escape(toText(value)))
}

/** Items that are mapped or selected: none of what is false. */
function itemsOf(value: Value): readonly Value[] {
  return isTruthy(value) ? iterate(value) : []
}

function jsonStyle(args: Arguments): JsonStyle {
  const [ascii, indent, separators, sortKeys] = bind(
    args,
    'ensure_ascii',
    'indent',
    'separators',
    'sort_keys',
  )
  const isIndented = indent !== undefined && indent !== null
  const [itemSeparator, keySeparator] = isList(separators)
    ? separators.map(textArgument)
    : [isIndented ? ',' : ', ', ': ']
  if (itemSeparator === undefined || keySeparator === undefined) {
    throw new TemplateError('separators are no pair')
  }
  return {
    ensureAscii: isTruthy(ascii),
    indent: isIndented
      ? typeof indent === 'string'
        ? indent
        : ' '.repeat(Math.max(integerArgument(indent, 0), 0))
      : undefined,
    itemSeparator,
    keySeparator,
    sortKeys: isTruthy(sortKeys),
  }
}

function withDefault(value: Value, args: Arguments): Value {
  const [otherwise = '', boolean] = bind(args, 'default_value', 'boolean')
  return value === undefined || (isTruthy(boolean) && !isTruthy(value)) ? otherwise : value
}

function indented(text: string, args: Arguments): string {
  const [width, first, blank] = bind(args, 'width', 'first', 'blank')
  const indention = typeof width === 'string' ? width : ' '.repeat(integerArgument(width, 4))
  const whole = `${text}\n`
  let result: string
  if (isTruthy(blank)) result = splitLines(whole, false).join(`\n${indention}`)
  else {
    const [head = '', ...lines] = splitLines(whole, false)
    result = head
    if (lines.length > 0) {
      result += `\n${lines.map((line) => (line === '' ? line : indention + line)).join('\n')}`
    }
  }
  return isTruthy(first) ? indention + result : result
}

function toInteger(value: Value, [otherwise = 0, base]: readonly Value[]): Value {
  if (base !== undefined && base !== 10) throw new TemplateError('int with a base is not followed')
  if (typeof value === 'number' || typeof value === 'bigint') return value
  const number = numeric(value)
  if (number === undefined || !Number.isFinite(number)) return otherwise
  if (!Number.isSafeInteger(Math.trunc(number))) throw new TemplateError('a number is too large')
  return Math.trunc(number)
}

/** A number in Python's notation; undefined for what is none. */
function numeric(value: Value): number | undefined {
  if (isNumber(value)) return numberOf(value)
  if (typeof value !== 'string') return undefined
  const trimmed = strip(value, undefined, true, true)
  if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(trimmed)) return Number(trimmed)
  if (/^[+-]?(?:inf|infinity|nan)$|\d_\d|(?![0-9])\p{Nd}/iu.test(trimmed)) {
    throw new TemplateError('a number in an unusual notation is read')
  }
  return undefined
}

function sequence(value: Value): readonly Value[] {
  if (value instanceof Lazy && value.size === undefined) {
    throw new TemplateError('a generator is used as a list')
  }
  return iterate(value)
}

function mapping(value: Value): Map<Value, Value> {
  if (!(value instanceof Map)) throw new TemplateError('a mapping is needed')
  return value
}

/** `a.b.0` of an item. */
function path(item: Value, attribute: Value, get: Getter): Value {
  if (typeof attribute === 'number') return get(item, attribute)
  let value = item
  for (const part of textArgument(attribute).split('.')) {
    value = get(value, /^\d+$/.test(part) ? Number(part) : part)
  }
  return value
}

function folded(value: Value): Value {
  return typeof value === 'string' ? value.toLowerCase() : value
}

function sorted(
  items: readonly Value[],
  key: (item: Value) => Value,
  caseSensitive: boolean,
  reverse: boolean,
): Value[] {
  const keyed = Array.from(items, (item) => {
    return { item, key: caseSensitive ? key(item) : folded(key(item)) }
  })
  keyed.sort((a, b) => (reverse ? compare(b.key, a.key) : compare(a.key, b.key)))
  return keyed.map(({ item }) => item)
}

function extreme(value: Value, args: Arguments, sign: number): Value {
  bind(args)
  const items = iterate(value)
  if (items.length === 0) return undefined
  return items.reduce((best, item) =>
    compare(folded(item), folded(best)) * sign > 0 ? item : best,
  )
}

/** Whether a value passes the test named by the arguments from `at` on; its own truth where none is named. */
function passes(value: Value, args: Arguments, at: number): boolean {
  const name = args.positional[at]
  if (name === undefined) return isTruthy(value)
  return holds(testNamed(textArgument(name)), value, args.positional.slice(at + 1))
}
