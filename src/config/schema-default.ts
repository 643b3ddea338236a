import { isDeepStrictEqual } from 'node:util'
import type { Path } from './problem.ts'

interface Schema {
  readonly properties?: Readonly<Record<string | number, Schema>>
  readonly items?: Schema
  readonly default?: unknown
}

/**
 * True when what stands at the path is what a JSON Schema fills in where nothing is given.
 *
 * @param value checked by the schema, with its defaults
 */
export function isDefault(schema: object, value: unknown, path: Path): boolean {
  let inner = value
  let node: Schema | undefined = schema
  let filled: unknown
  for (const step of path) {
    inner = (inner as Record<string | number, unknown>)[step]
    node = node?.properties?.[step] ?? node?.items
    filled = (filled as Record<string | number, unknown> | undefined)?.[step] ?? node?.default
  }
  if (isDeepStrictEqual(inner, filled)) return true
  // An object may be left out and its fields have defaults of their own.
  if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return false
  const keys = Object.keys(inner)
  return keys.length > 0 && keys.every((key) => isDefault(schema, value, [...path, key]))
}
