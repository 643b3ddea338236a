import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { suggestion } from './near.ts'
import { type Path, valueText } from './problem.ts'

/** JSON Schema as a plain object. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** One way in which a value does not fit its schema. */
export interface Issue {
  /** From the value that was checked. */
  readonly path: Path
  readonly part: 'key' | 'value'
  readonly message: string
  /** The name of a key that the schema does not know; undefined for any other issue. */
  readonly unknownKey?: string
}

const ajv = new Ajv({
  allErrors: true,
  verbose: true,
  useDefaults: true,
  // Schemas come from plugin authors too: what is only bad style in them is not the operator's problem.
  strict: false,
  strictNumbers: true,
  validateFormats: false,
})
const compiled = new WeakMap<object, ValidateFunction>()

/**
 * Checks a value against a JSON Schema and fills in the schema's defaults; the value given is not changed.
 *
 * Objects are strict: a key that an object's `properties` do not list is an issue, whatever the schema says.
 * @throws when the schema itself is not valid JSON Schema
 */
export function check(
  schema: object,
  value: unknown,
): { readonly value: unknown; readonly issues: readonly Issue[] } {
  const validate = compile(schema)
  const filled: unknown = structuredClone(value)
  if (validate(filled)) return { value: filled, issues: [] }
  return { value: filled, issues: mostTelling(validate.errors ?? []).map(issueOf) }
}

/** @throws when it is not valid JSON Schema */
export function assertSchema(schema: object): void {
  compile(schema)
}

function compile(schema: object): ValidateFunction {
  let validate = compiled.get(schema)
  if (validate === undefined) {
    validate = ajv.compile(strictObjects(schema))
    compiled.set(schema, validate)
  }
  return validate
}

/**
 * A copy of the schema in which every object that lists properties allows no others. Parts of an `allOf` see only some
 * of the keys and stay as they are.
 */
export function strictObjects(schema: object): JsonSchema {
  const copy = (value: unknown, within: string): unknown => {
    if (Array.isArray(value)) return value.map((item) => copy(item, within))
    if (typeof value !== 'object' || value === null) return value
    const result: Record<string, unknown> = {}
    for (const [key, inner] of Object.entries(value)) {
      const data = key === 'default' || key === 'const' || key === 'enum' || key === 'examples'
      result[key] = data && within !== 'properties' ? inner : copy(inner, key)
    }
    const lists = typeof result.properties === 'object' && within !== 'properties'
    if (lists && !['allOf', 'if', 'then', 'else'].includes(within)) {
      result.additionalProperties = false
    }
    return result
  }
  return copy(schema, '') as JsonSchema
}

/**
 * Of the errors of a union, keeps those of the branch that was meant, or else the one about the union. Of a condition,
 * keeps those of what it demands.
 */
function mostTelling(errors: readonly ErrorObject[]): readonly ErrorObject[] {
  let kept = errors.filter(({ keyword }) => keyword !== 'if')
  for (const union of errors) {
    if (union.keyword !== 'anyOf' && union.keyword !== 'oneOf') continue
    const branches = union.schema as readonly JsonSchema[]
    const meant = branches.findIndex(
      (branch) => branch.type === typeName(union.data) && branch.const === undefined,
    )
    const inside = (error: ErrorObject, path: string) => error.schemaPath.startsWith(`${path}/`)
    kept =
      meant < 0
        ? kept.filter((error) => !inside(error, union.schemaPath))
        : kept.filter(
            (error) =>
              error !== union &&
              (!inside(error, union.schemaPath) || inside(error, `${union.schemaPath}/${meant}`)),
          )
  }
  return kept
}

function issueOf(error: ErrorObject): Issue {
  const path = error.instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part))
  if (error.keyword === 'additionalProperties') {
    const key = String(error.params.additionalProperty)
    const known = Object.keys((error.parentSchema?.properties as object | undefined) ?? {})
    const message = `unknown field "${key}"${suggestion(key, known)}`
    return { path: [...path, key], part: 'key', message, unknownKey: key }
  }
  if (error.keyword === 'required') {
    const key = String(error.params.missingProperty)
    return { path, part: 'value', message: `"${key}" is missing${exampleOf(error, key)}` }
  }
  return { path, part: 'value', message: `${requirement(error)}, got ${valueText(error.data)}` }
}

function exampleOf(error: ErrorObject, key: string): string {
  const properties = error.parentSchema?.properties as Record<string, JsonSchema> | undefined
  const schema = properties?.[key]
  const value = schema?.const ?? (schema?.enum as readonly unknown[] | undefined)?.[0]
  return value === undefined ? '' : `; add ${key}: ${String(value)}`
}

function requirement(error: ErrorObject): string {
  const limit = error.params.limit as number
  switch (error.keyword) {
    case 'type': {
      const types = [error.params.type].flat() as string[]
      const quoted = types.includes('string') && typeof error.data === 'number'
      // biome-ignore lint/suspicious/noGlobalIsFinite: the value may be of any type
      const finite = typeof error.data === 'number' && !isFinite(error.data) ? 'finite ' : ''
      const wanted = types.map((type) => TYPE_NAMES[type] ?? type).join(' or ')
      return `must be ${finite === '' ? wanted : wanted.replace(' ', ` ${finite}`)}${quoted ? ' (write it in quotes)' : ''}`
    }
    case 'minimum':
      return `must be at least ${limit}`
    case 'maximum':
      return `must be at most ${limit}`
    case 'exclusiveMinimum':
      return `must be more than ${limit}`
    case 'exclusiveMaximum':
      return `must be less than ${limit}`
    case 'multipleOf':
      return `must be a multiple of ${error.params.multipleOf}`
    case 'minLength':
      return limit === 1 ? 'must not be empty' : `must have at least ${limit} characters`
    case 'maxLength':
      return `must have at most ${limit} characters`
    case 'minItems':
      return limit === 1 ? 'must not be empty' : `must have at least ${limit} entries`
    case 'maxItems':
      return `must have at most ${limit} entries`
    case 'minProperties':
      return limit === 1 ? 'must not be empty' : `must have at least ${limit} fields`
    case 'maxProperties':
      return `must have at most ${limit} ${limit === 1 ? 'field' : 'fields'}`
    case 'uniqueItems':
      return 'must not list the same value twice'
    case 'const':
      return `must be ${valueText(error.params.allowedValue)}`
    case 'enum':
      return oneOf(error.params.allowedValues as readonly unknown[])
    case 'pattern':
      return `must match ${error.params.pattern}`
    case 'anyOf':
    case 'oneOf':
      return unionText(error.schema as readonly JsonSchema[])
    default:
      return error.message ?? `breaks the rule "${error.keyword}"`
  }
}

function unionText(branches: readonly JsonSchema[]): string {
  if (branches.every((branch) => branch.const !== undefined)) {
    return oneOf(branches.map((branch) => branch.const))
  }
  const names = branches.map((branch) =>
    branch.const === undefined
      ? (TYPE_NAMES[String(branch.type)] ?? 'another shape')
      : valueText(branch.const),
  )
  return `must be ${[...new Set(names)].join(' or ')}`
}

function oneOf(values: readonly unknown[]): string {
  return `must be ${values.length === 1 ? '' : 'one of '}${values.map(valueText).join(', ')}`
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  integer: 'an integer',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
  null: 'empty',
}

function typeName(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
