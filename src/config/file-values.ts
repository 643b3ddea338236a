import type { Path } from './problem.ts'

/** An object of the file, of which only the keys are known to be strings. */
export type Fields = Readonly<Record<string, unknown>>

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A text that is not empty, else undefined. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** The objects of a list with their paths; whatever else stands there the check of shapes has named. */
export function itemsOf(value: unknown, path: Path): readonly (readonly [Fields, Path])[] {
  if (!Array.isArray(value)) return []
  return value.flatMap((item, index) => (isFields(item) ? [[item, [...path, index]] as const] : []))
}

/** The texts of a list, in their order. */
export function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

/** The fields of an object that are texts. */
export function textFieldsOf(value: unknown): Record<string, string> {
  if (!isFields(value)) return {}
  return Object.fromEntries(
    Object.entries(value).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  )
}
