import { randomBytes } from 'node:crypto'
import { PyFloat } from '../jinja/values.ts'

/** What marks numbers and keys between the two passes; no client can know it. */
const MARK = `\uFDD0${randomBytes(8).toString('hex')}:`

const STRING_OR_NUMBER = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
const WHOLE_KEY = /^"\d/

/**
 * Parses JSON text as Python's `json.loads` does: a number with a point or an exponent is a `PyFloat`, a large whole number
 * a bigint, and an object that has keys beginning with a digit a Map, since JavaScript moves such keys to the front.
 *
 * @throws {SyntaxError} when the text is not JSON
 * @throws {RangeError} for nesting deeper than the stack
 */
export function parsePythonJson(text: string): unknown {
  const plain: unknown = JSON.parse(text)
  if (!needsPythonJson(plain)) return plain
  const marked = text.replace(STRING_OR_NUMBER, (token: string, colon?: string) => {
    if (!token.startsWith('"')) return isPlainInteger(token) ? token : `"${MARK}${token}"`
    return colon !== undefined && WHOLE_KEY.test(token) ? `"${MARK}${token.slice(1)}` : token
  })
  return JSON.parse(marked, revive)
}

/**
 * True when a parsed value has a number, or a key that begins with a digit: then `JSON.parse` may have lost how it was
 * written.
 *
 * @throws {RangeError} for nesting deeper than the stack
 */
function needsPythonJson(value: unknown): boolean {
  if (typeof value === 'number') return true
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.some(needsPythonJson)
  return Object.entries(value).some(([key, item]) => /^\d/.test(key) || needsPythonJson(item))
}

function isPlainInteger(lexeme: string): boolean {
  return lexeme !== '-0' && Number.isSafeInteger(Number(lexeme)) && !/[.eE]/.test(lexeme)
}

function revive(_key: string, value: unknown): unknown {
  if (typeof value === 'string') {
    return value.startsWith(MARK) ? numberOf(value.slice(MARK.length)) : value
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const entries = Object.entries(value)
  if (!entries.some(([key]) => key.startsWith(MARK))) return value
  return new Map(
    entries.map(([key, item]) => [key.startsWith(MARK) ? key.slice(MARK.length) : key, item]),
  )
}

function numberOf(lexeme: string): PyFloat | bigint | number {
  if (/[.eE]/.test(lexeme)) return new PyFloat(Number(lexeme))
  const value = Number(lexeme)
  return Number.isSafeInteger(value) ? Math.abs(value) : BigInt(lexeme)
}
