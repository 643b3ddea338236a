import type { AnyPlugin } from '../framework/plugin.ts'
import { type JsonSchema, strictObjects } from './check.ts'
import { oldParams } from './field/old-params.ts'
import { fieldParams } from './field/params.ts'
import { referenceParams } from './field/references.ts'
import { FIELD_TYPES } from './field/types.ts'
import { FILE_SHAPE } from './shape.ts'

const INERT = 'Known in llm-d, without effect here.'
const OLD = 'An older name.'
const REFERENCE = 'Name of an entry of `plugins`.'

interface ObjectSchema {
  readonly properties: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
}
interface ListSchema {
  readonly items: ObjectSchema & JsonSchema
}

/**
 * The JSON Schema (draft-07) of the configuration file for editors: shapes, types of plugins with their parameters,
 * descriptions, defaults. What depends on several places of a file (references, duplicate names, sums of weights) only
 * `parseConfig` can say. A file that names `modules` may use plugin types that the schema does not know.
 */
export function configSchema(plugins: readonly AnyPlugin[]): JsonSchema {
  const shape = strictObjects(FILE_SHAPE) as unknown as ObjectSchema
  const list = shape.properties.plugins as unknown as ListSchema & JsonSchema
  const profiles = shape.properties.schedulingProfiles as unknown as ListSchema & JsonSchema
  const lines = profiles.items.properties.plugins as unknown as ListSchema & JsonSchema
  const { pluginRef, weight, ...inline } = lines.items.properties
  const params = plugins.flatMap((plugin) =>
    [plugin.type, ...plugin.aliases].map((type) => ({
      if: { properties: { type: { const: type } }, required: ['type'] },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
      then: { properties: { parameters: parametersOf(plugin) } },
    })),
  )
  const ours = plugins.map(({ type }) => type)
  const known = [
    ...ours,
    ...plugins.flatMap(({ aliases }) => aliases),
    ...[...FIELD_TYPES].filter(([, { kind }]) => kind !== 'filter').map(([type]) => type),
  ]
  const knownType = {
    properties: { type: { enum: [...new Set(known)] } },
  }
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Configuration of endpoint-picker',
    type: 'object',
    ...(shape.required && { required: shape.required }),
    properties: {
      ...shape.properties,
      plugins: { ...list, items: { ...list.items, allOf: [{ $ref: '#/definitions/type' }] } },
      schedulingProfiles: {
        ...profiles,
        items: {
          ...profiles.items,
          properties: {
            ...profiles.items.properties,
            plugins: {
              ...lines,
              items: {
                oneOf: [
                  {
                    type: 'object',
                    required: ['pluginRef'],
                    properties: { pluginRef, weight },
                    additionalProperties: false,
                  },
                  {
                    type: 'object',
                    required: ['type'],
                    properties: { ...inline, weight },
                    additionalProperties: false,
                    allOf: [{ $ref: '#/definitions/type' }],
                  },
                ],
              },
            },
          },
        },
      },
    },
    additionalProperties: false,
    if: { not: { required: ['modules'] } },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: {
      properties: {
        plugins: { items: knownType },
        schedulingProfiles: { items: { properties: { plugins: { items: knownType } } } },
      },
    },
    definitions: {
      type: {
        allOf: params,
      },
    },
  }
}

/** The parameters of a plugin, with those of the field that it has under another name, or not at all. */
function parametersOf(plugin: AnyPlugin): JsonSchema {
  const schema = writable(strictObjects(plugin.params)) as MutableSchema
  const { type } = plugin
  const more = [
    ...oldParams(type).map((path) => [path, OLD] as const),
    ...referenceParams(type).map(({ param }) => [param, REFERENCE] as const),
    ...fieldParams(type).map(({ path }) => [path, INERT] as const),
  ]
  for (const [path, description] of more) {
    let holder = schema
    const keys = path.split('.')
    for (const [depth, key] of keys.entries()) {
      holder.properties ??= {}
      const last = depth === keys.length - 1
      const found = (holder.properties[key] ??= last
        ? { description }
        : { type: 'object', description, properties: {}, additionalProperties: false })
      if (!last && found.properties === undefined) break
      holder = found
    }
  }
  return schema
}

/** A copy in which nothing is required that has a default: the file may leave it out. */
function writable(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(writable)
  if (typeof schema !== 'object' || schema === null) return schema
  const copy = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, writable(value)]),
  )
  if (Array.isArray(copy.required) && typeof copy.properties === 'object') {
    const properties = copy.properties as Record<string, JsonSchema>
    copy.required = copy.required.filter((key) => properties[key]?.default === undefined)
  }
  return copy
}

interface MutableSchema extends Record<string, unknown> {
  properties?: Record<string, MutableSchema>
}
