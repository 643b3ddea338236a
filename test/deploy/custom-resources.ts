import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv, type ValidateFunction } from 'ajv'
import { type Manifest, readManifests } from './tools.ts'

const FOLDERS = ['deploy/crds', 'test/fixtures/crds']

type Schema = Readonly<Record<string, unknown>>

/** Checks custom resources against their definitions, as an API server with strict field validation does. */
export class CustomResources {
  readonly #checks = new Map<string, ValidateFunction>()

  constructor() {
    const ajv = new Ajv({ strict: false, allErrors: true })
    for (const { spec } of definitions()) {
      for (const { name, schema } of spec.versions) {
        const key = `${spec.group}/${name} ${spec.names.kind}`
        if (this.#checks.has(key)) throw new Error(`two definitions of ${key}`)
        this.#checks.set(key, ajv.compile(strict(schema.openAPIV3Schema)))
      }
    }
  }

  knows({ apiVersion, kind }: Manifest): boolean {
    return this.#checks.has(`${apiVersion} ${kind}`)
  }

  /** What is wrong with an object, one text each with the field's path. */
  problems(object: Manifest): readonly string[] {
    const check = this.#checks.get(`${object.apiVersion} ${object.kind}`)
    if (check === undefined) throw new Error(`no definition of ${object.apiVersion} ${object.kind}`)
    check(object)
    return (check.errors ?? []).map(({ instancePath, message, params }) =>
      [instancePath, message, params.additionalProperty].filter(Boolean).join(' '),
    )
  }
}

export function definitions(): readonly Manifest[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => file.endsWith('.yaml'))
      .flatMap((file) => readManifests(join(folder, file))),
  )
}

/** A structural schema as JSON Schema that knows no other fields. */
function strict(schema: Schema, isMetadata = false): Schema {
  if (schema['x-kubernetes-int-or-string'] === true) return { type: ['integer', 'string'] }
  const { format, ...rest } = schema
  const properties = rest.properties as Readonly<Record<string, Schema>> | undefined
  const open =
    isMetadata ||
    rest.type !== 'object' ||
    rest['x-kubernetes-preserve-unknown-fields'] === true ||
    rest.additionalProperties !== undefined
  return {
    ...rest,
    ...(rest.items !== undefined && { items: strict(rest.items as Schema) }),
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, each]) => [name, strict(each, name === 'metadata')]),
      ),
    }),
    ...(!open && { additionalProperties: false }),
  }
}
