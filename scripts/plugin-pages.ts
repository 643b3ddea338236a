/** Fills the parameter tables of docs/plugins/<type>.md from the plugins' schemas. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AnyPlugin } from '../src/framework/plugin.ts'

interface ParamSchema {
  readonly type?: string
  readonly anyOf?: readonly ParamSchema[]
  readonly items?: ParamSchema
  readonly const?: unknown
  readonly default?: unknown
  readonly description?: string
  readonly properties?: Readonly<Record<string, ParamSchema>>
}

const docs = join(fileURLToPath(import.meta.url), '..', '..', 'docs', 'plugins')
const PARAMETERS = /(<!-- generated: parameters -->\n)[\s\S]*?(<!-- \/generated -->)/

/** Path and up-to-date text of a plugin's page. */
export function pluginPage(plugin: AnyPlugin): { readonly path: string; readonly text: string } {
  const path = join(docs, `${plugin.type}.md`)
  const rows = paramRows(plugin.params as ParamSchema, '')
  const table =
    rows.length === 0
      ? 'None.\n'
      : `| parameter | type | default | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`
  return { path, text: readFileSync(path, 'utf8').replace(PARAMETERS, `$1${table}$2`) }
}

function paramRows(schema: ParamSchema, prefix: string): readonly string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, param]) => {
    const path = `${prefix}${name}`
    const initial = param.default === undefined ? '' : `\`${JSON.stringify(param.default)}\``
    return [
      `| \`${path}\` | ${typeName(param)} | ${initial} | ${param.description ?? ''} |`,
      ...paramRows(param, `${path}.`),
      ...paramRows(param.items ?? {}, `${path}[].`),
    ]
  })
}

function typeName(schema: ParamSchema): string {
  if (schema.anyOf) return schema.anyOf.map(typeName).join(' or ')
  return schema.const === undefined ? (schema.type ?? 'any') : `\`${String(schema.const)}\``
}
