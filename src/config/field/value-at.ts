import { type Fields, isFields } from '../file-values.ts'

/** Fields that may be changed. */
export type MutableFields = Record<string, unknown>

/** What stands under keys, from an object down; undefined when nothing does. */
export function valueAt(fields: Fields, keys: readonly string[]): unknown {
  let value: unknown = fields
  for (const key of keys) {
    if (!isFields(value)) return undefined
    value = value[key]
  }
  return value
}

/** Puts a value under keys; objects on the way are made, and anything else that is in the way stays. */
export function setAt(fields: MutableFields, keys: readonly string[], value: unknown): void {
  const holder = holderOf(fields, keys, true)
  if (holder !== undefined) holder[keys.at(-1)!] = value
}

/** Takes what stands under keys away, and the objects around it that are empty then. */
export function removeAt(fields: MutableFields, keys: readonly string[]): void {
  const holder = holderOf(fields, keys, false)
  if (holder === undefined) return
  delete holder[keys.at(-1)!]
  if (keys.length > 1 && Object.keys(holder).length === 0) removeAt(fields, keys.slice(0, -1))
}

function holderOf(
  fields: MutableFields,
  keys: readonly string[],
  make: boolean,
): MutableFields | undefined {
  let holder = fields
  for (const key of keys.slice(0, -1)) {
    if (make) holder[key] ??= {}
    const next = holder[key]
    if (!isFields(next)) return undefined
    holder = next as MutableFields
  }
  return holder
}
