import { parse, tokenize } from '@huggingface/jinja'
import { sideTable } from '../../framework/side-table.ts'
import { bind, integerArgument, textArgument } from './arguments.ts'
import { Frame } from './frame.ts'
import { Names } from './names.ts'
import type { Output } from './output.ts'
import { type RenderLimits, Run } from './run.ts'
import { namesSetLate } from './scoping.ts'
import { textBlock } from './statements.ts'
import { formatTime } from './time.ts'
import { type Node, walk } from './tree.ts'
import {
  type Arguments,
  Callable,
  isNumber,
  iterate,
  Namespace,
  PyFloat,
  TemplateError,
  type Value,
} from './values.ts'

/** Python's sandbox allows a `range` of so many numbers. */
const MAX_RANGE = 100_000

/** What a mounted template may cost: about a second, 32 MiB. */
const DEFAULT_LIMITS: RenderLimits = { steps: 10_000_000, outputChars: 16 * 1024 * 1024 }

/**
 * A chat template as Hugging Face's transformers renders it in Python: a sandboxed Jinja2 with `trim_blocks`, `lstrip_blocks`,
 * loop controls, a `tojson` that escapes nothing, `raise_exception` and `strftime_now`.
 *
 * The grammar is `@huggingface/jinja`'s; what the parsed tree means is told here, since that library's evaluation differs
 * from Python's in what templates of the field use (docs/fidelity.md). What cannot be followed exactly is refused.
 */
export class JinjaTemplate {
  /** The parsed template. */
  readonly tree: unknown
  readonly #limits: RenderLimits
  readonly #setLate: ReadonlySet<string>
  /** How many variables the outermost block has. */
  readonly #count: number
  /** What the chat may give, as `Run.variables` has it. */
  readonly #free: readonly string[]
  readonly #body: (frame: Frame) => Output

  /** @throws {Error} when the text does not parse, or means another thing to Jinja2 than to the parser here */
  constructor(text: string, limits = DEFAULT_LIMITS) {
    if (ODD_SPACE.test(text)) throw new TemplateError('the template has white space of a rare kind')
    const tokens = tokenize(normalized(text), { lstrip_blocks: true, trim_blocks: true })
    refuseChains(tokens)
    this.tree = parse(tokens)
    this.#limits = limits
    for (const node of walk(this.tree)) refuseUnfollowed(node)
    const program = this.tree as Node
    this.#setLate = namesSetLate(program)
    const names = Names.of(program.body)
    this.#body = textBlock(program.body, names)
    this.#count = names.count
    this.#free = names.free
  }

  /**
   * @param variables JSON values; beside JavaScript's own a `PyFloat`, a bigint, a Map whose keys are in order
   * @param now what `strftime_now` prints
   * @throws {TemplateError} when the template refuses the variables, or does what is not followed
   */
  render(variables: Readonly<Record<string, unknown>>, now = new Date()): string {
    return this.#run(variables, {}, now).text
  }

  /**
   * The same in the parts that it was printed in, none of them empty: a text of the variables is one by itself where it can be.
   *
   * @param others variables that count where `variables` does not have them
   */
  renderParts(
    variables: Readonly<Record<string, unknown>>,
    others: Readonly<Record<string, unknown>> = {},
  ): readonly string[] {
    return this.#run(variables, others, new Date()).parts
  }

  #run(
    variables: Readonly<Record<string, unknown>>,
    others: Readonly<Record<string, unknown>>,
    now: Date,
  ): Output {
    for (const name of this.#setLate) {
      if (Object.hasOwn(variables, name) || Object.hasOwn(others, name)) {
        throw new TemplateError('a variable is set after a block within has read it')
      }
    }
    const values = this.#free.map((name) => {
      if (Object.hasOwn(variables, name)) return toValue(variables[name])
      return Object.hasOwn(others, name) ? toValue(others[name]) : constant(name, now)
    })
    return this.#body(new Frame(new Run(values, this.#limits), this.#count))
  }
}

/** White space to JavaScript's parser or to Python's only. */
const ODD_SPACE = /\p{Zl}|\p{Zp}|\ufeff|\u0085|[\v\f]/u

const GENERATION = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g

/**
 * Line ends as Jinja2 reads them, and transformers' tag `generation`, which marks an assistant's words and prints them, as
 * a filter that changes nothing: it has a scope and bounds white space as that does.
 */
function normalized(text: string): string {
  return text
    .replace(/\r\n?/g, '\n')
    .replace(GENERATION, (_all, before: string, end: string | undefined, after: string) => {
      return end === undefined
        ? `{%${before} filter string ${after}%}`
        : `{%${before} endfilter ${after}%}`
    })
}

/** Refuses what Jinja2 does and the tree cannot say. */
function refuseUnfollowed(node: Node): void {
  if (node.type === 'Identifier' && (node.value === 'varargs' || node.value === 'kwargs')) {
    throw new TemplateError('varargs and kwargs of macros are not followed')
  }
}

const BORDERS = new Set(['and', 'or', 'if', 'else', 'not'])

/** Jinja2 reads `a < b < c` as Python does; in the tree it cannot be told from `(a < b) < c`. */
function refuseChains(tokens: readonly Token[]): void {
  /** For each bracket that is open, whether a comparison was seen since the last border. */
  const seen = [false]
  for (const [i, { type, value }] of tokens.entries()) {
    const isIn = type === 'Identifier' && value === 'in'
    if (type === 'ComparisonBinaryOperator' || isIn) {
      if (seen.at(-1) === true) throw new TemplateError('a chain of comparisons is not followed')
      seen[seen.length - 1] = true
    } else if (type.startsWith('Open')) seen.push(false)
    else if (type.startsWith('Close')) seen.pop()
    else if (type === 'Comma' || type === 'Colon' || type === 'Equals')
      seen[seen.length - 1] = false
    else if (type === 'Identifier' && BORDERS.has(value) && tokens[i + 1]?.value !== 'in') {
      seen[seen.length - 1] = false
    }
  }
}

type Token = ReturnType<typeof tokenize>[number]

const CONSTANTS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
  ['namespace', new Callable(createNamespace)],
  ['dict', new Callable(createDict)],
  ['range', new Callable(createRange)],
  [
    'raise_exception',
    new Callable(() => {
      throw new TemplateError('the template refuses the chat')
    }),
  ],
])

/** What a name stands for in every template. */
function constant(name: string, now: Date): Value {
  if (name !== 'strftime_now') return CONSTANTS.get(name)
  return new Callable((args) => formatTime(now, textArgument(bind(args, 'format')[0])))
}

function createNamespace(args: Arguments): Namespace {
  const namespace = new Namespace()
  for (const [name, value] of createDict(args)) {
    if (typeof name !== 'string') throw new TemplateError('a namespace has a key that is no text')
    namespace.fields.set(name, value)
  }
  return namespace
}

function createDict({ positional: [from, ...others], named }: Arguments): Map<Value, Value> {
  if (others.length > 0) throw new TemplateError('too many arguments')
  const dict = new Map<Value, Value>(from instanceof Map ? from : [])
  if (from !== undefined && !(from instanceof Map)) {
    for (const pair of iterate(from)) {
      const [key, value, ...more] = iterate(pair)
      if (value === undefined || more.length > 0) throw new TemplateError('a pair is needed')
      dict.set(key, value)
    }
  }
  for (const [name, value] of named) dict.set(name, value)
  return dict
}

function createRange(args: Arguments): Value {
  const [first, second, third] = bind(args, 'start', 'stop', 'step')
  if (!isNumber(first) || first instanceof PyFloat) throw new TemplateError('range needs a number')
  const start = second === undefined ? 0 : integerArgument(first, 0)
  const stop = integerArgument(second ?? first, 0)
  const step = integerArgument(third, 1)
  if (step === 0) throw new TemplateError('a range has the step 0')
  const length = Math.max(Math.ceil((stop - start) / step), 0)
  if (length > MAX_RANGE) throw new TemplateError('a range is too long')
  return Array.from({ length }, (_, i) => start + i * step)
}

/** Of objects that nobody may change; a template changes no value either. */
const frozenValues = sideTable<object, Value>()

function toValue(value: unknown): Value {
  if (typeof value !== 'object' || value === null || !Object.isFrozen(value)) return newValue(value)
  let known = frozenValues.get(value)
  if (known === undefined) {
    known = newValue(value)
    frozenValues.set(value, known)
  }
  return known
}

function newValue(value: unknown): Value {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : new PyFloat(value)
  if (typeof value !== 'object' || value === null) return value as Value
  if (value instanceof PyFloat) return value
  if (Array.isArray(value)) return value.map(toValue)
  const dict = new Map<Value, Value>()
  const pairs = value instanceof Map ? value : Object.entries(value)
  for (const [key, one] of pairs) dict.set(key as Value, toValue(one))
  return dict
}
