import { DEFAULT_ENGINE_MODEL, type EngineModel } from './engine-model.ts'

/** A number of an engine's table: where it goes, and what it may be. */
interface Field {
  readonly isWhole: boolean
  /** Whether 0 is one of its values. */
  readonly mayBeZero: boolean
  readonly fallback: number
}

const { cost, ...rest } = DEFAULT_ENGINE_MODEL
const time = (fallback: number): Field => ({ isWhole: false, mayBeZero: true, fallback })
const amount = (fallback: number): Field => ({ isWhole: true, mayBeZero: false, fallback })
const FIELDS: Readonly<Record<string, Field>> = {
  stepMs: { ...time(cost.stepMs), mayBeZero: false },
  prefillTokenMs: time(cost.prefillTokenMs),
  sequenceMs: time(cost.sequenceMs),
  contextTokenMs: time(cost.contextTokenMs),
  prefillContextMs: time(cost.prefillContextMs),
  kvTokens: amount(rest.kvTokens),
  maxSeqs: amount(rest.maxRunning),
  stepTokens: amount(rest.stepTokens),
  blockTokens: amount(rest.blockTokens),
}

/** What is wrong with a table of engines. */
export class EngineTableError extends Error {
  override readonly name = 'EngineTableError'
}

/**
 * Reads `engines`, a list of tables with the numbers of `EngineModel` (those of `cost` beside the others, `maxSeqs` for the
 * requests that run at once). What is left out is as the default engine has it.
 *
 * @param value as YAML or JSON gives it
 * @param file how messages name it
 * @throws {EngineTableError} naming every problem
 */
export function readEngineTable(value: unknown, file: string): readonly EngineModel[] {
  const list = (value as { readonly engines?: unknown } | null | undefined)?.engines
  if (!Array.isArray(list) || list.length === 0) {
    throw new EngineTableError(
      `${file}: "engines" must be a list of at least one table, such as "engines: [{ stepMs: 13 }]"`,
    )
  }
  const problems: string[] = []
  const models = list.map((each: unknown, i) => {
    const where = `${file}: engines[${i}]`
    if (typeof each !== 'object' || each === null || Array.isArray(each)) {
      problems.push(`${where} must be a table of numbers`)
      return DEFAULT_ENGINE_MODEL
    }
    const given = each as Readonly<Record<string, unknown>>
    for (const name of Object.keys(given)) {
      if (Object.hasOwn(FIELDS, name)) continue
      problems.push(`${where} has no field "${name}"; there are: ${Object.keys(FIELDS).join(', ')}`)
    }
    const model = modelOf((name) => {
      const problem = faultOf(given[name], FIELDS[name]!)
      if (problem === undefined)
        return (given[name] as number | undefined) ?? FIELDS[name]!.fallback
      problems.push(`${where}.${name} ${problem}, got ${JSON.stringify(given[name])}`)
      return FIELDS[name]!.fallback
    })
    if (model.kvTokens < 2 * model.blockTokens) {
      problems.push(`${where}.kvTokens must hold two blocks of ${model.blockTokens} at least`)
    }
    return model
  })
  if (problems.length > 0) throw new EngineTableError(problems.join('\n'))
  return models
}

function faultOf(value: unknown, { isWhole, mayBeZero }: Field): string | undefined {
  if (value === undefined) return undefined
  const isFine =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (mayBeZero ? value >= 0 : value > 0) &&
    (!isWhole || Number.isInteger(value))
  if (isFine) return undefined
  return `must be a ${isWhole ? 'whole ' : ''}number ${mayBeZero ? 'from 0 on' : 'above 0'}`
}

function modelOf(number: (name: string) => number): EngineModel {
  return {
    cost: {
      stepMs: number('stepMs'),
      prefillTokenMs: number('prefillTokenMs'),
      sequenceMs: number('sequenceMs'),
      contextTokenMs: number('contextTokenMs'),
      prefillContextMs: number('prefillContextMs'),
    },
    kvTokens: number('kvTokens'),
    maxRunning: number('maxSeqs'),
    stepTokens: number('stepTokens'),
    blockTokens: number('blockTokens'),
  }
}
