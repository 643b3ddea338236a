import { nearest } from '../config/near.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { AnyPlugin } from '../framework/plugin.ts'
import { builtinPlugins } from '../plugins/index.ts'

interface ParamSchema {
  readonly type?: string
  readonly anyOf?: readonly ParamSchema[]
  readonly const?: unknown
  readonly default?: unknown
  readonly description?: string
  readonly properties?: Readonly<Record<string, ParamSchema>>
}

/**
 * All plugins, or one.
 *
 * @throws {SchedulerError} CONFIG_INVALID for a type that is not known
 */
export function pluginsAsJson(type: string | undefined): string {
  const plugins = type === undefined ? builtinPlugins : [findPlugin(type)]
  const shown = plugins.map(({ kind, type, aliases, description, params }) => ({
    kind,
    type,
    aliases,
    description,
    params,
  }))
  return `${JSON.stringify(shown, null, 2)}\n`
}

/**
 * A line for each plugin, or one with its parameters.
 *
 * @throws {SchedulerError} CONFIG_INVALID for a type that is not known
 */
export function pluginsAsText(type: string | undefined): string {
  return type === undefined ? overview(builtinPlugins) : details(findPlugin(type))
}

function findPlugin(type: string): AnyPlugin {
  const found = builtinPlugins.find(
    (plugin) => plugin.type === type || plugin.aliases.includes(type),
  )
  if (found) return found
  const known = builtinPlugins.map((plugin) => plugin.type)
  const near = nearest(type, known)
  throw new SchedulerError(
    'CONFIG_INVALID',
    `no plugin "${type}"; ${near === undefined ? `there are: ${known.join(', ')}` : `did you mean "${near}"?`}`,
  )
}

function overview(plugins: readonly AnyPlugin[]): string {
  const width = Math.max(...plugins.map(({ type }) => type.length))
  return plugins
    .map(
      ({ kind, type, description }) => `${kind.padEnd(9)} ${type.padEnd(width)}  ${description}\n`,
    )
    .join('')
}

function details({ kind, type, aliases, description, params }: AnyPlugin): string {
  const names = aliases.length > 0 ? ` (also: ${aliases.join(', ')})` : ''
  const lines = paramLines(params as ParamSchema, '  ')
  const listed = lines.length > 0 ? ['', 'parameters:', ...lines] : ['', 'no parameters']
  return `${[`${type} - ${kind}${names}`, description, ...listed].join('\n')}\n`
}

function paramLines(schema: ParamSchema, indent: string): readonly string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, param]) => {
    const shown = param.default === undefined ? '' : ` = ${JSON.stringify(param.default)}`
    return [
      `${indent}${name}: ${typeName(param)}${shown}`,
      `${indent}    ${param.description ?? ''}`,
      ...paramLines(param, `${indent}  `),
    ]
  })
}

function typeName(schema: ParamSchema): string {
  if (schema.anyOf) return schema.anyOf.map(typeName).join(' | ')
  return schema.const === undefined ? (schema.type ?? 'any') : JSON.stringify(schema.const)
}
