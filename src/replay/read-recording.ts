import { Ajv, type ValidateFunction } from 'ajv'
import type { TSchema } from 'typebox'
import type { Endpoint } from '../framework/endpoint.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { PrefixMatch, TruthReason } from '../framework/services.ts'
import {
  ConfigurationLine,
  DecisionLine,
  EndpointLine,
  FORMAT,
  HeaderLine,
  type MatchPart,
  OutcomeLine,
  RECORDING,
} from './format.ts'
import { type FileLine, type ReadProgress, readLines } from './read-lines.ts'
import { RecordedStates } from './recorded-states.ts'
import type {
  RecordedConfiguration,
  RecordedDecision,
  RecordedEndpoint,
  RecordedOutcome,
} from './recording.ts'

const ajv = new Ajv({ strict: false })
const validators = {
  c: ajv.compile<import('typebox').Static<typeof ConfigurationLine>>(ConfigurationLine),
  e: ajv.compile<import('typebox').Static<typeof EndpointLine>>(EndpointLine),
  d: ajv.compile<DecisionLine>(DecisionLine satisfies TSchema),
  o: ajv.compile<OutcomeLine>(OutcomeLine),
}
const isHeader = ajv.compile<import('typebox').Static<typeof HeaderLine>>(HeaderLine)

/** What a file tells, in its order. */
export type Recorded =
  | { readonly decision: RecordedDecision; readonly outcome?: undefined }
  | { readonly outcome: RecordedOutcome; readonly decision?: undefined }

interface RecordedPool {
  readonly states: RecordedStates
  readonly configurations: Map<number, RecordedConfiguration>
  meanOutputTokens: number
}

/**
 * Decisions and outcomes of a recording.
 *
 * @throws {SchedulerError} START_FAILED when the file cannot be read; BAD_REQUEST, with the line, when it is no recording, of
 *   a format that is not known, or damaged other than by its end having been cut off
 */
export async function* readRecording(
  file: string,
  progress: ReadProgress,
): AsyncGenerator<Recorded> {
  const pools = new Map<number, RecordedPool>()
  let isBegun = false
  for await (const line of readLines(file, progress)) {
    const value = parsed(file, line)
    if (!isBegun) {
      checkHeader(file, line, value)
      isBegun = true
      continue
    }
    try {
      const recorded = read(file, line.line, value, pools)
      if (recorded !== undefined) yield recorded
    } catch (cause) {
      if (cause instanceof SchedulerError || !(cause instanceof RangeError)) throw cause
      throw broken(file, line, cause.message)
    }
  }
  if (isBegun) return
  const text = progress.cut === undefined ? 'the file is empty' : progress.cut
  throw new SchedulerError(
    'BAD_REQUEST',
    `${file}: ${text}; give a file that epp serve --record wrote`,
  )
}

function parsed(file: string, line: FileLine): unknown {
  try {
    return JSON.parse(line.text)
  } catch {
    if (line.line === 1) throw foreign(file, 'the first line is not JSON')
    throw broken(file, line, 'not JSON')
  }
}

function checkHeader(file: string, line: FileLine, value: unknown): void {
  if (!isHeader(value) || value.recording !== RECORDING) {
    throw foreign(file, `the first line does not begin with {"recording":"${RECORDING}"`)
  }
  if (value.format === FORMAT) return
  throw new SchedulerError(
    'BAD_REQUEST',
    `${file}:${line.line}: format ${value.format}, written by version ${value.picker.slice(0, 40)}; this version reads format ${FORMAT}: use the version that wrote it`,
  )
}

function foreign(file: string, why: string): SchedulerError {
  return new SchedulerError(
    'BAD_REQUEST',
    `${file}:1: no recording: ${why}; give a file that epp serve --record wrote`,
  )
}

function broken(file: string, { line }: FileLine, what: string): SchedulerError {
  return new SchedulerError(
    'BAD_REQUEST',
    `${file}:${line}: ${what}; the recording is damaged: cut it off before this line to use what is above`,
  )
}

function read(
  file: string,
  line: number,
  value: unknown,
  pools: Map<number, RecordedPool>,
): Recorded | undefined {
  const kind = (value as { k?: unknown } | null)?.k
  if (kind === 'd') return { decision: decisionOf(file, line, checked(validators.d, value), pools) }
  if (kind === 'o') return { outcome: outcomeOf(checked(validators.o, value)) }
  if (kind === 'e') {
    const { p, n, labels, k: _, ...identity } = checked(validators.e, value)
    const endpoint: Omit<Endpoint, 'metrics'> = {
      ...identity,
      labels: new Map(Object.entries(labels)),
    }
    poolOf(p, pools).states.endpoint({ n, identity: endpoint })
    return undefined
  }
  if (kind === 'c') {
    const { p, pool, k: _, ...configuration } = checked(validators.c, value)
    const { configurations } = poolOf(p, pools)
    configurations.set(configuration.generation, { ...configuration, pool: pool ?? undefined })
    return undefined
  }
  throw new RangeError(`a line of the unknown kind ${JSON.stringify(kind)?.slice(0, 40)}`)
}

function poolOf(number: number, pools: Map<number, RecordedPool>): RecordedPool {
  let pool = pools.get(number)
  if (pool === undefined) {
    pool = { states: new RecordedStates(), configurations: new Map(), meanOutputTokens: 0 }
    pools.set(number, pool)
  }
  return pool
}

/** @throws {RangeError} where it does not fit */
function checked<T>(validate: ValidateFunction<T>, value: unknown): T {
  if (validate(value)) return value
  const [error] = validate.errors ?? []
  throw new RangeError(`${error?.instancePath || 'the line'} ${error?.message}`)
}

function decisionOf(
  file: string,
  line: number,
  said: DecisionLine,
  pools: Map<number, RecordedPool>,
): RecordedDecision {
  const pool = poolOf(said.p, pools)
  const configuration = pool.configurations.get(said.g)
  if (configuration === undefined)
    throw new RangeError(`configuration ${said.g} is not told before`)
  const { states } = pool
  states.change(said)
  pool.meanOutputTokens = said.o ?? pool.meanOutputTokens
  const endpoints = states.list()
  const candidates = said.c?.map((n) => states.of(n)) ?? endpoints
  const finding = said.f
  return {
    ...{ file, line, number: said.q, configuration },
    ...{ atMs: said.t, nowMs: said.n, seed: said.s, request: said.r },
    ...{ endpoints, candidates, meanOutputTokens: pool.meanOutputTokens },
    finding: finding && {
      match: matchOf(finding, candidates),
      ...{ source: finding.source, tracked: finding.tracked },
      ...(finding.told !== undefined && {
        told: Array.from(unpacked(finding.told, candidates.length, Int32Array), Boolean),
      }),
      distrusted: finding.distrusted?.map((reason) => (reason ?? undefined) as TruthReason),
    },
    routed: said.ro && matchOf(said.ro, candidates),
    ghost: said.gh && matchOf(said.gh, candidates),
    seenTokens: said.b && Math.max(0, ...said.b.map(seenTokensOf)),
    picked: said.pick.map((n) => states.of(n).endpoint),
    profile: said.profile,
    error: said.error,
  }
}

function seenTokensOf({ z, c }: NonNullable<DecisionLine['b']>[number]): number {
  return c.reduce((sum, [, known]) => sum + known * z, 0)
}

function matchOf(part: MatchPart, { length }: readonly RecordedEndpoint[]): PrefixMatch {
  return {
    blocks: unpacked(part.b, length, Int32Array),
    weighted: unpacked(part.w ?? part.b, length, Float64Array),
    blockTokens: unpacked(part.z, length, Int32Array),
    usableBlocks: unpacked(part.u, length, Int32Array),
  }
}

/** @throws {RangeError} for another number of values */
function unpacked<T extends Int32Array | Float64Array>(
  values: number | readonly number[],
  length: number,
  Values: { new (length: number): T },
): T {
  const all = new Values(length)
  if (typeof values === 'number') all.fill(values)
  else if (values.length === length) all.set(values)
  else throw new RangeError(`${values.length} values for ${length} candidates`)
  return all
}

function outcomeOf({ q, end, status, u, first, ms }: OutcomeLine): RecordedOutcome {
  return {
    ...{ number: q, end, status, firstByteMs: first, durationMs: ms },
    usage: u && { promptTokens: u[0], completionTokens: u[1], cachedTokens: u[2] ?? undefined },
  }
}
