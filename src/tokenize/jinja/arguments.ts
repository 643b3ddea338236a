import { type Arguments, TemplateError, type Value } from './values.ts'

/**
 * Binds a call's arguments to parameters as Python does.
 *
 * @param names of the parameters in order; what is not given is undefined, or not there at the end
 * @throws {TemplateError} when there are more, or others
 */
export function bind(args: Arguments, ...names: readonly string[]): readonly Value[] {
  if (args.positional.length > names.length) throw new TemplateError('too many arguments')
  if (args.named.size === 0) return args.positional
  const values: Value[] = names.map((name, i) => args.positional[i] ?? args.named.get(name))
  for (const name of args.named.keys()) {
    if (!names.includes(name)) throw new TemplateError('an unknown argument')
  }
  // None as a positional argument must not fall through to a named one.
  for (const [i, value] of args.positional.entries()) values[i] = value
  return values
}

export function textArgument(value: Value): string {
  if (typeof value !== 'string') throw new TemplateError('an argument is no text')
  return value
}

/** @param otherwise when the argument is not given */
export function integerArgument(value: Value, otherwise: number): number {
  if (value === undefined) return otherwise
  if (typeof value === 'boolean') return Number(value)
  if (typeof value !== 'number') throw new TemplateError('an argument is no whole number')
  return value
}
