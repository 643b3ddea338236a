import { styleText } from 'node:util'
import { commentedText } from '../config/commented-yaml.ts'
import { readDocument } from '../config/document.ts'
import { effectiveConfig, type PlaceText } from '../config/effective.ts'
import { nearest } from '../config/near.ts'
import type { CheckedConfig } from '../config/parse.ts'
import { parseConfig } from '../config/parse.ts'
import { type Problem, pathText, problemLine } from '../config/problem.ts'
import { KubeClient } from '../discovery/kubernetes/client.ts'
import {
  checkManifests,
  type ManifestReport,
} from '../discovery/kubernetes/manifests/check-manifests.ts'
import { readCluster } from '../discovery/kubernetes/manifests/cluster.ts'
import type { PoolPlan } from '../discovery/kubernetes/manifests/pool.ts'
import { DEFAULT_POOL_CONFIG, policyOf } from '../discovery/kubernetes/policy.ts'
import { SchedulerError } from '../framework/errors.ts'
import { builtinPlugins } from '../plugins/index.ts'
import {
  type CheckOptions,
  type FoundConfig,
  type FoundDocuments,
  findConfigs,
  findDocuments,
} from './check-documents.ts'
import { type Inputs, readInputs } from './check-inputs.ts'
import { serveFlags } from './serve-flags.ts'

export interface CheckFlags {
  readonly strict?: boolean
  readonly json?: boolean
  readonly effective?: boolean
  readonly namespace: string
  readonly cluster?: boolean
  readonly poolName?: string
  readonly poolNamespace?: string
  readonly kubeconfig?: string
}

/** What was checked, and what came of it. */
export interface Checked {
  /** By file, then by place. */
  readonly problems: readonly Problem[]
  readonly valid: boolean
  readonly configs: readonly FoundConfig[]
  readonly report: ManifestReport
  readonly objects: number
}

/**
 * Checks what is given, and prints what came of it; the exit code is 1 when there is an error.
 *
 * @throws {SchedulerError} when nothing is given, or the cluster does not answer
 */
export async function runCheck(inputs: readonly string[], flags: CheckFlags): Promise<void> {
  if (inputs.length === 0 && !flags.cluster) {
    throw new SchedulerError('CONFIG_INVALID', 'nothing to check; give a file or a folder')
  }
  const checked = await check(inputs, flags)
  if (flags.json) {
    const { valid, problems } = checked
    process.stdout.write(`${JSON.stringify({ valid, problems }, null, 2)}\n`)
  } else if (flags.effective && checked.valid) {
    for (const problem of checked.problems) process.stderr.write(`${shown(problem)}\n`)
    process.stdout.write(effective(checked))
  } else {
    for (const problem of checked.problems) process.stdout.write(`${shown(problem)}\n`)
    if (checked.valid)
      process.stdout.write(`${inputs.join(' ') || 'cluster'}: valid${seen(checked)}\n`)
  }
  if (!checked.valid) process.exitCode = 1
}

async function check(names: readonly string[], flags: CheckFlags): Promise<Checked> {
  const options = { strict: flags.strict ?? false, namespace: flags.namespace }
  const cluster = flags.cluster ? await fromCluster(flags, options) : undefined
  return checkInputs(readInputs(names), options, cluster)
}

/** Checks everything that was given as one set. */
export async function checkInputs(
  inputs: Inputs,
  options: CheckOptions,
  cluster?: FoundDocuments,
): Promise<Checked> {
  const { strict, namespace } = options
  const found = await findDocuments(inputs.texts, options)
  const manifests = [...found.manifests, ...(cluster?.manifests ?? [])]
  const configs = [...found.configs, ...(cluster?.configs ?? [])]
  const known = new Set(serveFlags().flatMap(({ long }) => long?.slice(2) ?? []))
  const report = checkManifests(
    { manifests, profiles: configs, namespace },
    {
      nearest,
      pickerFlags: {
        isKnown: (name) => known.has(name) || name === 'v',
        nearest: (name) => nearest(name, known),
      },
    },
  )
  const problems = [
    ...[...inputs.problems, ...found.problems, ...(cluster?.problems ?? [])],
    ...report.problems.map((problem) => ({ ...problem, path: pathText(problem.path) })),
  ]
    .map((problem): Problem => (strict ? { ...problem, severity: 'error' } : problem))
    .sort(byPlace)
  return {
    ...{ problems, configs, report, objects: manifests.length },
    valid: problems.every(({ severity }) => severity !== 'error'),
  }
}

async function fromCluster(
  { kubeconfig, poolName, poolNamespace }: CheckFlags,
  options: CheckOptions,
): Promise<FoundDocuments> {
  const client = KubeClient.open({ kubeconfig, readDocument })
  try {
    const namespace = poolNamespace ?? client.namespace
    const { manifests, problems } = await readCluster(client, namespace)
    const place = { severity: 'error', line: 1, column: 1, path: '' } as const
    const found: Problem[] = problems.map((problem) => ({ ...place, ...problem }))
    const named = manifests.some(
      ({ value }) =>
        value.kind === 'InferencePool' && (value.metadata as { name?: string }).name === poolName,
    )
    if (poolName !== undefined && !named) {
      const message = `there is no InferencePool ${poolName} in namespace "${namespace}"`
      found.push({ ...place, file: 'cluster', message })
    }
    const inside = await findConfigs(manifests, options)
    return { manifests, configs: inside.configs, problems: [...found, ...inside.problems] }
  } finally {
    client.close()
  }
}

function byPlace(a: Problem, b: Problem): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1
  return a.line - b.line || a.column - b.column
}

/** What was there to be checked, when it was more than configurations. */
function seen({ objects, report, configs }: Checked): string {
  if (objects === 0) return ''
  const counts = [
    [objects, 'object'],
    [report.pools.length, 'InferencePool'],
    [report.engines.length, 'vLLM container'],
    [configs.length, 'configuration'],
  ] as const
  const text = counts.map(([count, what]) => `${count} ${what}${count === 1 ? '' : 's'}`)
  return ` (${text.join(', ')})`
}

/** The configurations in force: those given, and those of pools that none of them speaks of. */
function effective({ configs, report }: Checked): string {
  const given = configs.flatMap(({ manifest, checked }) => {
    if (checked === undefined) return []
    const { file, place } = manifest
    return inForce(file, checked, (path) => `${file}:${place(path, 'value').line}`)
  })
  const pools = report.pools
    .filter(({ profiles }) => profiles.length === 0)
    .map((plan) => {
      const { namespace, name } = plan.object
      const { title, origin, config } = configOf(plan)
      const checked = parseConfig(JSON.stringify(config), title, builtinPlugins)
      return inForce(`InferencePool ${namespace}/${name}: ${title}`, checked, () => origin)
    })
  return [...given, ...pools].join('---\n')
}

function inForce(title: string, checked: CheckedConfig, place: PlaceText): string {
  const lines = effectiveConfig(checked, place, builtinPlugins)
  const paint = (comment: string) => (process.stdout.isTTY ? styleText('dim', comment) : comment)
  return `# ${title}\n${commentedText(lines, paint)}`
}

function configOf({ policy }: PoolPlan) {
  const made = policy && policyOf(policy.manifest.value)
  if (made === undefined || 'fault' in made) {
    const title = 'no InferenceTrafficPolicy'
    return { title, origin: 'default', config: DEFAULT_POOL_CONFIG }
  }
  const origin = made.source.replace('InferenceTrafficPolicy', 'policy')
  return { title: made.source, origin, config: made.config }
}

function shown(problem: Problem): string {
  const severity = `${problem.severity}:`
  const colour = problem.severity === 'error' ? 'red' : 'yellow'
  return `${process.stdout.isTTY ? styleText(colour, severity) : severity} ${problemLine(problem)}`
}
