import { bind, integerArgument, textArgument } from './arguments.ts'
import { toText } from './printing.ts'
import {
  type Arguments,
  Callable,
  characters,
  isList,
  iterate,
  lengthOf,
  TemplateError,
  Tuple,
  tupleOf,
  type Value,
} from './values.ts'

/** What Python counts as white space: not JavaScript's set (which has U+FEFF but not U+001C to U+001F and U+0085). */
export const SPACE =
  '\\t-\\r\\u001c- \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const SPACES_BEFORE = new RegExp(`^[${SPACE}]+`)
const WORD = new RegExp(`[^${SPACE}]+`, 'g')
const IS_SPACE = new RegExp(`^[${SPACE}]+$`)
const SPACE_CHARACTER = new RegExp(`[${SPACE}]`)
const LINE_BREAK = '\\n-\\r\\u001c-\\u001e\\u0085\\u2028\\u2029'
const LINE_END = new RegExp(`\\r\\n|[${LINE_BREAK}]`, 'g')

/** Python's `str.strip`, `lstrip` and `rstrip`. @param set characters to take off; undefined for white space */
export function strip(text: string, set: string | undefined, start: boolean, end: boolean): string {
  if (set === undefined) {
    if (start) text = text.replace(SPACES_BEFORE, '')
    let to = text.length
    while (end && to > 0 && SPACE_CHARACTER.test(text[to - 1]!)) to--
    return text.slice(0, to)
  }
  const units = new Set(characters(set))
  const all = characters(text)
  let from = 0
  let to = all.length
  while (start && from < to && units.has(all[from]!)) from++
  while (end && to > from && units.has(all[to - 1]!)) to--
  return all.slice(from, to).join('')
}

/** Python's `str.splitlines`. */
export function splitLines(text: string, keepEnds: boolean): string[] {
  const lines: string[] = []
  let from = 0
  for (const { 0: end, index } of text.matchAll(LINE_END)) {
    lines.push(text.slice(from, keepEnds ? index + end.length : index))
    from = index + end.length
  }
  if (from < text.length) lines.push(text.slice(from))
  return lines
}

/** Python's `str.replace`. @param count at most so many; below 0 for all */
export function replaceText(text: string, from: string, to: string, count: number): string {
  if (from === '') {
    const all = characters(text)
    let left = count < 0 ? all.length + 1 : count
    const parts = all.map((character) => (left-- > 0 ? to : '') + character)
    return parts.join('') + (left > 0 ? to : '')
  }
  const parts = text.split(from)
  if (count < 0 || parts.length - 1 <= count) return parts.join(to)
  return [...parts.slice(0, count + 1)].join(to) + from + parts.slice(count + 1).join(from)
}

function split(text: string, separator: Value, most: number): string[] {
  if (separator === undefined || separator === null) return splitWords(text, most)
  const by = textArgument(separator)
  if (by === '') throw new TemplateError('a text is split at nothing')
  const parts = text.split(by)
  if (most < 0 || parts.length - 1 <= most) return parts
  return [...parts.slice(0, most), parts.slice(most).join(by)]
}

function splitWords(text: string, most: number): string[] {
  const words: string[] = []
  for (const { 0: word, index } of text.matchAll(WORD)) {
    if (most >= 0 && words.length === most) {
      words.push(text.slice(index))
      break
    }
    words.push(word)
  }
  return words
}

function splitFromEnd(text: string, separator: Value, most: number): string[] {
  if (most < 0) return split(text, separator, most)
  const by = textArgument(separator)
  if (by === '') throw new TemplateError('a text is split at nothing')
  const parts = text.split(by)
  if (parts.length - 1 <= most) return parts
  const first = parts.length - most
  return [parts.slice(0, first).join(by), ...parts.slice(first)]
}

function hasEdge(args: Arguments, test: (part: string) => boolean): boolean {
  const [edge] = bind(args, 'prefix')
  if (edge instanceof Tuple) return edge.some((part) => test(textArgument(part)))
  return test(textArgument(edge))
}

/** Python's `str.title`: letters after what is no letter in upper case, others in lower case. */
function titleCased(text: string): string {
  return text.replace(/\p{L}+/gu, (word) => {
    const [first = '', ...rest] = characters(word)
    return first.toUpperCase() + rest.join('').toLowerCase()
  })
}

export function capitalized(text: string): string {
  const [first = '', ...rest] = characters(text)
  return first.toUpperCase() + rest.join('').toLowerCase()
}

function indexOf(text: string, part: string, last: boolean): number {
  const at = last ? text.lastIndexOf(part) : text.indexOf(part)
  return at < 0 ? at : lengthOf(text.slice(0, at))
}

function padded(text: string, args: Arguments, left: boolean): string {
  const [width, fill] = bind(args, 'width', 'fillchar')
  const missing = integerArgument(width, 0) - lengthOf(text)
  if (missing > 10_000) throw new TemplateError('a text is padded too much')
  const padding = (fill === undefined ? ' ' : textArgument(fill)).repeat(Math.max(missing, 0))
  return left ? padding + text : text + padding
}

/** A method without arguments. */
function plain(method: (text: string) => Value): Method {
  return (text, args) => {
    bind(args)
    return method(text)
  }
}

type Method = (text: string, args: Arguments) => Value

const METHODS: Readonly<Record<string, Method>> = {
  strip: (text, args) => strip(text, setOf(args), true, true),
  lstrip: (text, args) => strip(text, setOf(args), true, false),
  rstrip: (text, args) => strip(text, setOf(args), false, true),
  split: (text, args) => {
    const [separator, most] = bind(args, 'sep', 'maxsplit')
    return split(text, separator, integerArgument(most, -1))
  },
  rsplit: (text, args) => {
    const [separator, most] = bind(args, 'sep', 'maxsplit')
    return splitFromEnd(text, separator, integerArgument(most, -1))
  },
  splitlines: (text, args) => {
    const [keep] = bind(args, 'keepends')
    return splitLines(text, keep === true)
  },
  partition: (text, args) => {
    const by = textArgument(bind(args, 'sep')[0])
    const at = text.indexOf(by)
    return at < 0
      ? tupleOf(text, '', '')
      : tupleOf(text.slice(0, at), by, text.slice(at + by.length))
  },
  rpartition: (text, args) => {
    const by = textArgument(bind(args, 'sep')[0])
    const at = text.lastIndexOf(by)
    return at < 0
      ? tupleOf('', '', text)
      : tupleOf(text.slice(0, at), by, text.slice(at + by.length))
  },
  startswith: (text, args) => hasEdge(args, (part) => text.startsWith(part)),
  endswith: (text, args) => hasEdge(args, (part) => text.endsWith(part)),
  removeprefix: (text, args) => {
    const part = textArgument(bind(args, 'prefix')[0])
    return text.startsWith(part) ? text.slice(part.length) : text
  },
  removesuffix: (text, args) => {
    const part = textArgument(bind(args, 'suffix')[0])
    return part !== '' && text.endsWith(part) ? text.slice(0, -part.length) : text
  },
  replace: (text, args) => {
    const [from, to, count] = bind(args, 'old', 'new', 'count')
    return replaceText(text, textArgument(from), textArgument(to), integerArgument(count, -1))
  },
  upper: plain((text) => text.toUpperCase()),
  lower: plain((text) => text.toLowerCase()),
  title: plain((text) => titleCased(text)),
  capitalize: plain((text) => capitalized(text)),
  find: (text, args) => indexOf(text, textArgument(bind(args, 'sub')[0]), false),
  rfind: (text, args) => indexOf(text, textArgument(bind(args, 'sub')[0]), true),
  index: (text, args) => {
    const at = indexOf(text, textArgument(bind(args, 'sub')[0]), false)
    if (at < 0) throw new TemplateError('a text is not in another')
    return at
  },
  count: (text, args) => {
    const part = textArgument(bind(args, 'sub')[0])
    return part === '' ? lengthOf(text) + 1 : text.split(part).length - 1
  },
  join: (text, args) => {
    const items = iterate(bind(args, 'iterable')[0])
    return items.map(textArgument).join(text)
  },
  isdigit: plain((text) => only(text, /^[0-9]+$/, /\p{N}/u)),
  isalpha: plain((text) => /^\p{L}+$/u.test(text)),
  isspace: plain((text) => IS_SPACE.test(text)),
  isupper: plain((text) => only(text, /^[^a-z]*[A-Z][^a-z]*$/, /[^ -~\s]/)),
  islower: plain((text) => only(text, /^[^A-Z]*[a-z][^A-Z]*$/, /[^ -~\s]/)),
  ljust: (text, args) => padded(text, args, false),
  rjust: (text, args) => padded(text, args, true),
}

/** A property that is followed for ASCII; other texts that it could hold for are refused. */
function only(text: string, ascii: RegExp, unsure: RegExp): boolean {
  if (ascii.test(text)) return true
  if (unsure.test(text.replace(/[ -~\s]/g, ''))) {
    throw new TemplateError('a property of letters beyond ASCII is asked')
  }
  return false
}

function setOf(args: Arguments): string | undefined {
  const [set] = bind(args, 'chars')
  return set === undefined || set === null ? undefined : textArgument(set)
}

/** Methods of Python's texts that are not followed here. */
const UNKNOWN = new Set(
  (
    'casefold center encode expandtabs format format_map isalnum isascii isdecimal isidentifier isnumeric isprintable ' +
    'istitle maketrans rindex swapcase translate zfill'
  ).split(' '),
)

/** A text's method; undefined where Python has none. @throws {TemplateError} for one that is not followed */
export function textMethod(text: string, name: string): Callable | undefined {
  if (Object.hasOwn(METHODS, name)) return new Callable((args) => METHODS[name]!(text, args))
  if (UNKNOWN.has(name)) throw new TemplateError(`the method ${name} of texts is not followed`)
  return undefined
}

/** Jinja's `join`. */
export function joinAll(items: readonly Value[], separator: string): string {
  return items.map(toText).join(separator)
}

/** A list's method; undefined where Python has none that a sandbox allows. */
export function listMethod(list: readonly Value[], name: string): Callable | undefined {
  if (name !== 'index' && name !== 'count' && name !== 'copy') return undefined
  return new Callable((args) => {
    if (name === 'copy') {
      bind(args)
      return [...list]
    }
    const [wanted] = bind(args, 'value')
    const at = list.flatMap((item, i) => (same(item, wanted) ? [i] : []))
    if (name === 'count') return at.length
    if (at.length === 0) throw new TemplateError('a value is not in a list')
    return at[0]!
  })
}

function same(a: Value, b: Value): boolean {
  if (isList(a) || a instanceof Map) throw new TemplateError('lists are looked for in lists')
  return a === b
}
