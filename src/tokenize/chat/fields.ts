import { PyFloat } from '../jinja/values.ts'

/** A JSON object whose fields are read by name. */
export type Fields = Readonly<Record<string, unknown>>

/** False for a Map, which `parsePythonJson` makes of an object with keys that no field has. */
export function isFields(value: unknown): value is Fields {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Map) &&
    !(value instanceof PyFloat)
  )
}

/** True for what JSON writes as null or not at all. */
export function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

const TRUE = new Set<unknown>([true, 1, '1', 'true', 't', 'yes', 'y', 'on'])

/**
 * A truth value as the engine's request models read it, which take words and numbers for it
 * (https://docs.pydantic.dev/latest/api/standard_library_types/#booleans). What they refuse counts as false.
 */
export function truthOf(value: unknown, absent: boolean): boolean {
  if (isAbsent(value)) return absent
  return TRUE.has(typeof value === 'string' ? value.toLowerCase() : value)
}

/** The fields that are not named, in their order. */
export function without(fields: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)))
}
