import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { parseAllDocuments } from 'yaml'

const BIN = '.cache/deploy-tools/bin'
const CHART = 'deploy/charts/endpoint-picker'

/** Any object of Kubernetes, as its manifest says it. */
// biome-ignore lint/suspicious/noExplicitAny: objects of many kinds, of which tests read single fields
export type Manifest = any

/** False, said loudly, where helm and kubernetes-validate are missing; in CI that is an error. */
export function deployToolsAvailable(): boolean {
  if (existsSync(`${BIN}/helm`) && existsSync(`${BIN}/kubernetes-validate`)) return true
  const text = `${BIN} lacks helm or kubernetes-validate; run scripts/install-deploy-tools.sh`
  if (process.env.CI) throw new Error(text)
  console.log(`      SKIPPED: ${text}`)
  return false
}

export interface Output {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export function run(command: string, args: readonly string[]): Output {
  return spawnSync(command, args, { encoding: 'utf8', timeout: 60_000, maxBuffer: 2 ** 26 })
}

export const helm = (...args: readonly string[]): Output => run(`${BIN}/helm`, args)

export const kubernetesValidate = (files: readonly string[]): Output =>
  run(`${BIN}/kubernetes-validate`, ['--strict', ...files])

/** `helm template` of the chart; each setting as `--set` takes it. */
export function template(
  settings: readonly string[],
  { release = 'qwen3', namespace = 'default' } = {},
): Output {
  return helm('template', release, CHART, '-n', namespace, ...settings.flatMap((s) => ['--set', s]))
}

/** The objects of a text of YAML documents. @throws when it is not YAML */
export function parseManifests(text: string): readonly Manifest[] {
  const documents = parseAllDocuments(text)
  if (!Array.isArray(documents)) return []
  for (const { errors } of documents) if (errors[0] !== undefined) throw errors[0]
  return documents.map((document) => document.toJS()).filter((object) => object !== null)
}

export const readManifests = (file: string): readonly Manifest[] =>
  parseManifests(readFileSync(file, 'utf8'))

/** The one object of a kind, and of a name where there are several. */
export function only(objects: readonly Manifest[], kind: string, name?: string): Manifest {
  const found = objects.filter(
    (object) => object.kind === kind && (name === undefined || object.metadata.name === name),
  )
  if (found.length === 1) return found[0]
  throw new Error(`${found.length} objects ${kind} ${name ?? ''}, not one`)
}
