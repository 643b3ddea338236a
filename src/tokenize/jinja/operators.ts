import { toText } from './printing.ts'
import { isIn } from './tests.ts'
import {
  compare,
  isEqual,
  isList,
  isNumber,
  Markup,
  numberOf,
  PyFloat,
  TemplateError,
  Tuple,
  type Value,
} from './values.ts'

/** The most items or characters that one repetition may make. */
const MAX_REPEATED = 100_000

/** A binary operator of a template but `and` and `or`. @throws {TemplateError} for operands that Python refuses */
export function operate(operator: string, a: Value, b: Value): Value {
  switch (operator) {
    case '==':
      return isEqual(a, b)
    case '!=':
      return !isEqual(a, b)
    case 'in':
      return isIn(a, b)
    case 'not in':
      return !isIn(a, b)
    case '~':
      return plain(a) + plain(b)
    case '<':
      return compare(a, b) < 0
    case '<=':
      return compare(a, b) <= 0
    case '>':
      return compare(a, b) > 0
    case '>=':
      return compare(a, b) >= 0
    case '+':
      if (typeof a === 'string' && typeof b === 'string') return a + b
      if (isText(a) && isText(b)) return joinMarked(a, b)
      if (isList(a) && isList(b) && a instanceof Tuple === b instanceof Tuple) return a.concat(b)
      break
    case '*':
      if (typeof b === 'number' && (typeof a === 'string' || isList(a))) return repeat(a, b)
      if (typeof a === 'number' && (typeof b === 'string' || isList(b))) return repeat(b, a)
      break
  }
  if (isNumber(a) && isNumber(b)) return calculate(operator, a, b)
  throw new TemplateError(`the operator ${operator} is given what Python refuses`)
}

function isText(value: Value): value is string | Markup {
  return typeof value === 'string' || value instanceof Markup
}

/** The text of a value; without autoescaping `~` joins safe texts like others. */
function plain(value: Value): string {
  return value instanceof Markup ? value.text : toText(value)
}

function joinMarked(a: string | Markup, b: string | Markup): Markup {
  return new Markup(Markup.escape(a) + Markup.escape(b))
}

export function negate(value: Value): Value {
  if (value instanceof PyFloat) return new PyFloat(-value.value)
  return calculate('-', 0, value)
}

function repeat(value: string | readonly Value[], count: number): Value {
  if (value.length * count > MAX_REPEATED) throw new TemplateError('a repetition is too long')
  if (typeof value === 'string') return value.repeat(Math.max(count, 0))
  if (value instanceof Tuple) throw new TemplateError('a tuple is repeated')
  return Array.from({ length: Math.max(count, 0) }, () => value).flat()
}

function calculate(operator: string, a: Value, b: Value): Value {
  if (!isNumber(a) || !isNumber(b)) throw new TemplateError('a sum of what are no numbers')
  const x = numberOf(a)
  const y = numberOf(b)
  const result = arithmetic(operator, x, y)
  if (a instanceof PyFloat || b instanceof PyFloat || operator === '/') return new PyFloat(result)
  if (operator === '**' && y < 0) return new PyFloat(result)
  // Python's whole numbers have no end; those of JavaScript are exact below 2^53 only.
  if (!(Number.isSafeInteger(x) && Number.isSafeInteger(y) && Number.isSafeInteger(result))) {
    throw new TemplateError('a number is too large')
  }
  return result + 0
}

function arithmetic(operator: string, x: number, y: number): number {
  switch (operator) {
    case '+':
      return x + y
    case '-':
      return x - y
    case '*':
      return x * y
    case '**':
      // Jinja2 compiles a negative base to Python text in which the sign binds less.
      if (x < 0) throw new TemplateError('the power of a negative number is not followed')
      return x ** y
  }
  if (y === 0) throw new TemplateError('a division by zero')
  switch (operator) {
    case '/':
      return x / y
    case '//':
      return Math.round((x - modulo(x, y)) / y)
    case '%':
      return modulo(x, y)
    default:
      throw new TemplateError(`the operator ${operator} is not followed`)
  }
}

/** Python's `%`: the sign is the divisor's, of zero too. */
function modulo(x: number, y: number): number {
  const rest = x % y
  if (rest === 0) return y < 0 ? -0 : 0
  return rest < 0 === y < 0 ? rest : rest + y
}
