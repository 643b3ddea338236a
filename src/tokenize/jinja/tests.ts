import { toText } from './printing.ts'
import {
  Callable,
  compare,
  isEqual,
  isList,
  isNumber,
  iterate,
  Lazy,
  LoopState,
  Markup,
  Namespace,
  PyFloat,
  TemplateError,
  type Value,
} from './values.ts'

/** A test of Jinja (https://jinja.palletsprojects.com/en/stable/templates/#list-of-builtin-tests). */
type Test = (value: Value, argument: Value) => boolean

const equal: Test = (a, b) => isEqual(a, b)

const TESTS: Readonly<Record<string, Test>> = {
  defined: (value) => value !== undefined,
  undefined: (value) => value === undefined,
  none: (value) => value === null,
  boolean: (value) => typeof value === 'boolean',
  true: (value) => value === true,
  false: (value) => value === false,
  string: (value) => typeof value === 'string',
  number: (value) => isNumber(value),
  integer: (value) => typeof value === 'number' || typeof value === 'bigint',
  float: (value) => value instanceof PyFloat,
  mapping: (value) => value instanceof Map,
  sequence: (value) =>
    typeof value === 'string' || isList(value) || value instanceof Map || value === undefined,
  iterable: (value) =>
    typeof value === 'string' ||
    isList(value) ||
    value instanceof Map ||
    value instanceof Lazy ||
    value instanceof LoopState ||
    value === undefined,
  callable: (value) =>
    value instanceof Callable || value instanceof LoopState || value === undefined,
  odd: (value) => Math.abs(integer(value) % 2) === 1,
  even: (value) => integer(value) % 2 === 0,
  lower: (value) => cased(value, (text) => text.toLowerCase()),
  upper: (value) => cased(value, (text) => text.toUpperCase()),
  eq: equal,
  equalto: equal,
  '==': equal,
  ne: (a, b) => !isEqual(a, b),
  '!=': (a, b) => !isEqual(a, b),
  lt: (a, b) => compare(a, b) < 0,
  lessthan: (a, b) => compare(a, b) < 0,
  '<': (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  '<=': (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  greaterthan: (a, b) => compare(a, b) > 0,
  '>': (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  '>=': (a, b) => compare(a, b) >= 0,
  in: (value, container) => isIn(value, container),
  divisibleby: (value, by) => {
    if (by === 0) throw new TemplateError('a division by zero')
    return integer(value) % integer(by) === 0
  },
}

/** Tests that take an argument. */
const BINARY = new Set([
  ...['eq', 'equalto', '==', 'ne', '!=', 'lt', 'lessthan', '<', 'le', '<=', 'gt', 'greaterthan'],
  ...['>', 'ge', '>=', 'in', 'divisibleby'],
])

/** A test with the number of its arguments. */
export interface NamedTest {
  readonly test: Test
  readonly count: number
}

/** @throws {TemplateError} when Jinja has none of that name or it is not followed */
export function testNamed(name: string): NamedTest {
  if (!Object.hasOwn(TESTS, name)) throw new TemplateError(`the test ${name} is not followed`)
  return { test: TESTS[name]!, count: BINARY.has(name) ? 1 : 0 }
}

export function holds({ test, count }: NamedTest, value: Value, args: readonly Value[]): boolean {
  if (args.length !== count) throw new TemplateError('a test has too many or too few arguments')
  if (value instanceof Markup) throw new TemplateError('a safe text is tested')
  return test(value, args[0])
}

/** Python's `in`. @throws {TemplateError} for what nothing can be in */
export function isIn(value: Value, container: Value): boolean {
  if (typeof container === 'string') {
    if (typeof value !== 'string')
      throw new TemplateError('what is no text is looked for in a text')
    return container.includes(value)
  }
  if (container instanceof Map) {
    if (isList(value) || value instanceof Map) throw new TemplateError('a list is used as a key')
    return container.has(value)
  }
  if (container instanceof Namespace) throw new TemplateError('a namespace is gone through')
  return iterate(container).some((item) => isEqual(item, value))
}

function integer(value: Value): number {
  if (typeof value === 'boolean') return Number(value)
  if (typeof value !== 'number') throw new TemplateError('a whole number is needed')
  return value
}

/** Python's `islower` and `isupper` for a text: it has cased letters and all of them are of that case. */
function cased(value: Value, change: (text: string) => string): boolean {
  const text = toText(value)
  return change(text) === text && text.toLowerCase() !== text.toUpperCase()
}
