import { compare, isList, PyFloat, TemplateError, Tuple, type Value } from './values.ts'

/** Python's `str()`: what `{{ value }}` prints. @throws {TemplateError} for what has no stable text */
export function toText(value: Value): string {
  if (typeof value === 'string') return value
  if (value === undefined) return ''
  return toRepr(value)
}

/** Python's `repr()`. */
export function toRepr(value: Value): string {
  if (typeof value === 'string') return quote(value)
  if (value === undefined) return 'Undefined'
  if (value === null) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  if (value instanceof PyFloat) return printFloat(value.value)
  if (value instanceof Tuple) {
    const items = value.map(toRepr)
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`
  }
  if (isList(value)) return `[${value.map(toRepr).join(', ')}]`
  if (value instanceof Map) {
    const pairs = [...value].map(([key, item]) => `${toRepr(key)}: ${toRepr(item)}`)
    return `{${pairs.join(', ')}}`
  }
  throw new TemplateError('something without a text of its own is printed')
}

/** Python's `repr` of a float: the shortest digits, an exponent below 1e-4 and from 1e16 on. */
export function printFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  if (Object.is(value, -0)) return '-0.0'
  const [digits = '', exponentText = '0'] = value.toExponential().split('e')
  const exponent = Number(exponentText)
  if (value === 0 || (exponent >= -4 && exponent < 16)) {
    // JavaScript turns to exponents below 1e-6 only, so that its own text will do.
    return Number.isInteger(value) ? `${value}.0` : String(value)
  }
  const sign = exponent < 0 ? '-' : '+'
  return `${digits}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
}

/** Characters that Python does not print as they are: others than letters, marks, numbers, signs and the space. */
const UNPRINTABLE = /[\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu

function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replace(UNPRINTABLE, (character) => {
    const known = ESCAPES[character]
    if (known !== undefined) return known
    const code = character.codePointAt(0)!.toString(16)
    if (code.length <= 2) return `\\x${code.padStart(2, '0')}`
    return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\U${code.padStart(8, '0')}`
  })
  return mark + (mark === "'" ? escaped.replaceAll("'", "\\'") : escaped) + mark
}

/** Keyword arguments of `json.dumps`. */
export interface JsonStyle {
  readonly ensureAscii: boolean
  /** What one level is indented by; undefined for one line. */
  readonly indent: string | undefined
  readonly itemSeparator: string
  readonly keySeparator: string
  readonly sortKeys: boolean
}

/** Python's `json.dumps`. @throws {TemplateError} for what is not JSON */
export function toJson(value: Value, style: JsonStyle, level = 0): string {
  if (value === null) return 'null'
  if (typeof value === 'string') return jsonText(value, style.ensureAscii)
  if (typeof value === 'boolean' || typeof value === 'number' || typeof value === 'bigint') {
    return String(value)
  }
  if (value instanceof PyFloat) return jsonFloat(value.value)
  if (isList(value)) {
    return bracketed(
      '[',
      value.map((item) => toJson(item, style, level + 1)),
      ']',
      style,
      level,
    )
  }
  if (value instanceof Map) {
    const pairs = [...value]
    if (style.sortKeys) pairs.sort(([a], [b]) => compare(a, b))
    const members = pairs.map(
      ([key, item]) =>
        jsonText(jsonKey(key), style.ensureAscii) +
        style.keySeparator +
        toJson(item, style, level + 1),
    )
    return bracketed('{', members, '}', style, level)
  }
  throw new TemplateError('what is not JSON is printed as JSON')
}

function bracketed(
  open: string,
  members: readonly string[],
  close: string,
  style: JsonStyle,
  level: number,
): string {
  if (members.length === 0) return open + close
  if (style.indent === undefined) return open + members.join(style.itemSeparator) + close
  const outer = `\n${style.indent.repeat(level)}`
  const inner = outer + style.indent
  return open + inner + members.join(style.itemSeparator + inner) + outer + close
}

function jsonKey(key: Value): string {
  if (typeof key === 'string') return key
  if (key === null) return 'null'
  if (typeof key === 'boolean' || typeof key === 'number' || typeof key === 'bigint') {
    return String(key)
  }
  if (key instanceof PyFloat) return jsonFloat(key.value)
  throw new TemplateError('a key is no text')
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  return printFloat(value)
}

const CONTROL = '\\u0000-\\u001f'
const TO_ESCAPE = new RegExp(`["\\\\${CONTROL}]`, 'g')
const NOT_ASCII = /[^ -~]/g

/** Half of a surrogate pair stays as it is, as in Python: JavaScript would escape it. */
function jsonText(text: string, ensureAscii: boolean): string {
  const escaped = text.replace(TO_ESCAPE, (unit) => JSON.stringify(unit).slice(1, -1))
  if (!ensureAscii) return `"${escaped}"`
  const ascii = escaped.replace(NOT_ASCII, (unit) => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
  return `"${ascii}"`
}
