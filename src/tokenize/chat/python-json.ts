/**
 * Numbers as Python prints them. Templates print JSON through Python's `json.dumps`, where 1.0 stays `1.0`, 1e3 becomes
 * `1000.0` and integers are exact at any length. A number that JavaScript would print otherwise is carried through the
 * template as a string between two noncharacters and unwrapped in the rendered text.
 */
const OPEN = '\uFDD0'
const CLOSE = '\uFDD1'
const WRAPPED = new RegExp(`"${OPEN}([^${CLOSE}"]*)${CLOSE}"|${OPEN}([^${CLOSE}]*)${CLOSE}`, 'g')

const STRING_OR_NUMBER = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/**
 * Parses JSON text, keeping numbers as Python would print them again.
 *
 * @throws {SyntaxError} when the text is not JSON
 */
export function parsePythonJson(text: string): unknown {
  JSON.parse(text)
  return JSON.parse(
    text.replace(STRING_OR_NUMBER, (token) => {
      if (token.startsWith('"')) return token
      const printed = printLexeme(token)
      return printed === String(Number(token)) ? token : JSON.stringify(OPEN + printed + CLOSE)
    }),
  )
}

/** A number that `JSON.parse` has read, in the form in which a template must be given it. */
export function wrapNumber(value: number): number | string {
  if (Number.isInteger(value)) return value
  const printed = printFloat(value)
  return printed === String(value) ? value : OPEN + printed + CLOSE
}

/** Takes the wrapping off again. */
export function unwrapNumbers(rendered: string): string {
  if (!rendered.includes(OPEN)) return rendered
  return rendered.replace(WRAPPED, (_all, quoted?: string, bare?: string) => quoted ?? bare ?? '')
}

function printLexeme(lexeme: string): string {
  if (/[.eE]/.test(lexeme)) return printFloat(Number(lexeme))
  return lexeme === '-0' ? '0' : lexeme
}

/** Python's `repr` of a float: the shortest digits, an exponent below 1e-4 and from 1e16 on. */
function printFloat(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  if (Object.is(value, -0)) return '-0.0'
  const [digits = '', exponentText = '0'] = value.toExponential().split('e')
  const exponent = Number(exponentText)
  if (value === 0 || (exponent >= -4 && exponent < 16)) {
    return Number.isInteger(value) ? `${value}.0` : String(value)
  }
  const sign = exponent < 0 ? '-' : '+'
  return `${digits}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`
}
