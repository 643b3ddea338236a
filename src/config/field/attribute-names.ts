import { type Path, type ProblemList, valueText } from '../problem.ts'

/** The parameter with the name of an attribute, by type. */
const NAMES: Readonly<Record<string, string>> = {
  'endpoint-attribute-scorer': 'attributeKey',
  'endpoint-attribute-filter': 'attribute',
}

/** Names an attribute that is written together with its producer, as llm-d's first versions had it, and takes it out. */
export function attributeNames(
  type: string,
  params: Record<string, unknown>,
  path: Path,
  problems: ProblemList,
): void {
  const param = NAMES[type]
  const value = param === undefined ? undefined : params[param]
  if (param === undefined || typeof value !== 'string') return
  const [, name, producer] = /^([^/]+)\/([^/]+)$/.exec(value) ?? []
  if (name === undefined) return
  problems.error(
    [...path, param],
    `${valueText(value)} names an attribute and its producer in one; write ${param}: ${name} and producer: ${producer}`,
  )
  params[param] = name
}
