import type { GenerationSpec, ProfileSpec } from '../framework/build.ts'
import type { AnyPlugin } from '../framework/plugin.ts'
import { type RequestPolicy, responsesMode } from '../framework/routing/request-policy.ts'
import { check } from './check.ts'
import { DEFAULT_HANDLER } from './defaults.ts'
import { Entries } from './entries.ts'
import { sharePrefixIndexes } from './field/prefix-indexes.ts'
import { checkReferences } from './field/references.ts'
import { type Fields, isFields, itemsOf, textFieldsOf, textsOf } from './file-values.ts'
import { chooseHandler } from './handler.ts'
import type { LintInput, Origin } from './lint-input.ts'
import type { ProblemList } from './problem.ts'
import { ProfileSpecs } from './profile-spec.ts'
import { readProfiles } from './profiles.ts'
import { checkSections } from './sections.ts'
import { FILE_SHAPE } from './shape.ts'

/** What a file says; complete only when no problem is an error. */
export interface FileContent {
  readonly spec: GenerationSpec
  readonly tokenizers: Readonly<Record<string, string>>
  readonly modules: readonly string[]
  readonly metricsCompat: boolean
  /** Where each plugin of `spec` stands, by its name. */
  readonly origins: ReadonlyMap<string, Origin>
  /** The same as written, for rules about its meaning. */
  readonly lint: LintInput
}

/** Checks one file whose text is sound. Goes on after each problem, so that all are found at once. */
export function checkConfig(
  value: unknown,
  plugins: readonly AnyPlugin[],
  problems: ProblemList,
): FileContent {
  const file = fieldsOf(value, problems)
  const entries = new Entries(plugins, problems)
  for (const [fields, path] of itemsOf(file.plugins, ['plugins'])) entries.read(fields, path, true)
  const written = readProfiles(file, entries, problems)
  entries.nameAll()
  checkReferences(entries, problems)
  sharePrefixIndexes(entries, problems)
  checkSections(file, entries, problems)
  checkDataParallel(file, problems)
  const acting = written.filter(({ shadow }) => shadow === undefined)
  if (acting.length === 0 && written.length > 0) {
    const message = 'every profile is a shadow, so that none picks; take shadow off one of them'
    problems.error(['schedulingProfiles'], message, 'key')
  }
  const choice = chooseHandler(acting, entries, problems)
  const kept = written.filter((each) => each.shadow !== undefined || choice.profiles.includes(each))
  const specs = new ProfileSpecs(entries, written, problems)
  const profiles = written.flatMap((profile) => {
    const spec = specs.specOf(profile)
    return kept.includes(profile) ? spec : []
  })
  const canStandIn = choice.handler === undefined && choice.profiles.length === 1
  const handler = canStandIn ? entries.standIn('handler', DEFAULT_HANDLER) : choice.handler
  const names = new Set(profiles.flatMap(namesIn))
  const actingNames = profiles.filter(({ shadow }) => shadow === undefined).flatMap(namesIn)
  const isShadowOnly = ({ name }: { readonly name: string }) =>
    names.has(name) && !actingNames.includes(name)
  const working = entries.specs(names)
  return {
    spec: {
      // Where a plugin speaks for the whole picker, the first of its type does: one that acts.
      plugins: [...working.filter((each) => !isShadowOnly(each)), ...working.filter(isShadowOnly)],
      profiles,
      handler: handler?.name ?? '',
      requests: requestPolicy(file),
    },
    tokenizers: textFieldsOf(file.tokenizers),
    modules: textsOf(file.modules),
    metricsCompat: isFields(file.metrics) && file.metrics.compat === true,
    origins: entries.origins(names),
    lint: { entries: entries.list, profiles: kept, handler },
  }
}

/** What the file says of requests beside plugins; what is not of its shape is a problem already. */
function requestPolicy({
  responses,
  saltHeader,
  dataParallel,
  dataParallelSize,
  decisionHeader,
}: Fields): RequestPolicy {
  const mode = typeof responses === 'string' ? responsesMode(responses) : undefined
  return {
    ...(mode !== undefined && { responses: mode }),
    ...(typeof saltHeader === 'string' && { saltHeader: saltHeader.toLowerCase() }),
    ...(dataParallel === 'header' && { dataParallel }),
    ...(Number.isInteger(dataParallelSize) && { dataParallelSize: Number(dataParallelSize) }),
    ...(decisionHeader === true && { decisionHeader }),
  }
}

/** Either field of the pair says nothing alone. */
function checkDataParallel(file: Fields, problems: ProblemList): void {
  if (file.dataParallel === 'header' && file.dataParallelSize === undefined) {
    problems.warn(
      ['dataParallel'],
      "has no effect without dataParallelSize: ranks are not told apart, and the engine balances among them; write dataParallelSize: N, the engines' --data-parallel-size",
    )
  }
  if (file.dataParallelSize !== undefined && file.dataParallel === undefined) {
    problems.warn(
      ['dataParallelSize'],
      'has no effect without dataParallel; write dataParallel: header too',
      'key',
    )
  }
}

function namesIn({ filters, scorers, picker }: ProfileSpec): readonly string[] {
  return [...filters, ...scorers.map(({ name }) => name), picker]
}

/** The file as an object of known shape. @throws {SchedulerError} CONFIG_INVALID when it is no object */
function fieldsOf(value: unknown, problems: ProblemList): Fields {
  if (value === null) {
    problems.error([], 'the file is empty; begin with apiVersion, kind and plugins')
  } else {
    for (const { path, part, message } of check(FILE_SHAPE, value).issues) {
      problems.error(path, message, part)
    }
  }
  if (isFields(value)) return value
  problems.throwIfAny()
  return {}
}
