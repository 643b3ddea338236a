import { createHash } from 'node:crypto'
import { Attributes, PROMPT_TOKENS, type PromptTokens } from '../framework/attributes.ts'
import type { Generation } from '../framework/build.ts'
import type { Endpoint } from '../framework/endpoint.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { Observer, Outcome } from '../framework/plugin.ts'
import type { InferenceRequest } from '../framework/request.ts'
import type { Decided, DecisionRecorder } from '../framework/routing/decided.ts'
import type { ProfileRuns } from '../framework/routing/scheduler.ts'
import {
  GHOST_INDEX,
  type InFlight,
  PREFIX_FINDING,
  PREFIX_MATCHER,
  type PrefixFinding,
  type PrefixIndex,
  type PrefixMatch,
  type PrefixMatcher,
  ROUTED_PREFIX_INDEX,
} from '../framework/services.ts'
import { EndpointStates } from './endpoint-states.ts'
import {
  type DecisionLine,
  type FindingPart,
  type MatchPart,
  packed,
  type RequestPart,
  SECRET_HEADERS,
} from './format.ts'
import { type BlockKeys, KeyChains } from './key-chains.ts'
import type { RecordFile } from './record-file.ts'

/** Of which one pool's state is read. */
export interface RecorderSources {
  readonly inFlight: InFlight
  readonly matcher: PrefixMatcher
  readonly routed: PrefixIndex
  readonly ghost: PrefixIndex
  /** The picker's own keys of a request's blocks. */
  keysOf(request: InferenceRequest, tokens: PromptTokens, blockTokens: number): BlockKeys
}

/** What a record needs of a configuration. */
type RecordedGeneration = Pick<Generation, 'id' | 'headers' | 'services'> & {
  readonly source: string
  readonly text: string
}

/** Configurations that requests may still be under way for. */
const MAX_GENERATIONS = 8
/** Paths that say nothing of a user. */
const PATHS: ReadonlySet<string> = new Set([
  ...['/v1/chat/completions', '/v1/completions', '/v1/messages', '/v1/responses'],
  ...['/v1/embeddings', '/v1/models'],
])
/** Characters of a header's value, and of an error's message. */
const MAX_CHARACTERS = 1024

/** What has been told of one pool in one file. */
class Told {
  readonly states: EndpointStates
  readonly generations = new Set<number>()
  readonly chains = new Map<number, KeyChains>()
  meanOutputTokens: number | undefined

  constructor(pool: number) {
    this.states = new EndpointStates(pool)
  }
}

/** A file into which all pools of the process write. */
export class Recording {
  readonly file: RecordFile
  /** Taken so far. */
  pools = 0
  decisions = 0

  constructor(file: RecordFile) {
    this.file = file
  }

  /** @param name of the pool; undefined where endpoints come from flags or a file */
  recorderOf(name: string | undefined, sources: RecorderSources): Recorder {
    return new Recorder(this, name, sources)
  }
}

/**
 * Writes down what each pick of one pool was made from, and what became of it.
 *
 * Nothing of a prompt is kept but counts and the picker's own keys of its blocks, which are another in each process; of
 * headers those that plugins say they read; ids, salts and credentials as hashes.
 */
export class Recorder implements DecisionRecorder, Observer {
  readonly #file: RecordFile
  readonly #name: string | undefined
  readonly #sources: RecorderSources
  readonly #recording: Recording
  readonly #pool: number
  readonly #generations = new Map<number, RecordedGeneration>()
  /** Numbers of decisions that have not ended, and the file that they are in. */
  readonly #open = new WeakMap<InferenceRequest, { readonly part: number; readonly q: number }>()
  #told: Told
  #part = 0

  /** @param name of the pool */
  constructor(recording: Recording, name: string | undefined, sources: RecorderSources) {
    this.#recording = recording
    this.#file = recording.file
    this.#name = name
    this.#sources = sources
    this.#pool = recording.pools++
    this.#told = new Told(this.#pool)
  }

  /** A configuration comes into force. */
  configured(
    { id, headers, services }: Pick<Generation, 'id' | 'headers' | 'services'>,
    { source, text }: { readonly source: string; readonly text: string },
  ): void {
    this.#generations.set(id, { id, headers, services, source, text })
    for (const id of this.#generations.keys()) {
      if (this.#generations.size <= MAX_GENERATIONS) break
      this.#generations.delete(id)
    }
  }

  decided(decided: Decided): void {
    const generation = this.#generations.get(decided.generation)
    if (generation === undefined || !this.#file.takes()) return
    if (this.#part !== this.#file.part) this.#beginAnew()
    try {
      const lines = this.#linesOf(decided, generation)
      this.#open.set(decided.request, { part: this.#part, q: this.#recording.decisions++ })
      this.#file.add(lines, 1)
    } catch (error) {
      // What was told is not known any more.
      this.#beginAnew()
      this.#file.lose(error instanceof Error ? error.message : String(error))
    }
  }

  ended(request: InferenceRequest, _endpoint: Endpoint, outcome: Outcome): void {
    const open = this.#open.get(request)
    if (open === undefined || open.part !== this.#file.part) return
    const { reason, status, usage, firstByteMs, durationMs } = outcome
    const line = JSON.stringify({
      ...{ k: 'o', q: open.q, end: reason, status },
      ...(usage && { u: [usage.promptTokens, usage.completionTokens, usage.cachedTokens ?? null] }),
      ...{ first: firstByteMs, ms: durationMs },
    })
    this.#file.add([line], 0)
  }

  #beginAnew(): void {
    this.#part = this.#file.part
    this.#told = new Told(this.#pool)
  }

  #linesOf(decided: Decided, generation: RecordedGeneration): readonly string[] {
    const { endpoints, candidates, atMs, nowMs, seed, request, outcome } = decided
    const { inFlight } = this.#sources
    const told = this.#told
    const { states } = told
    const lines: string[] = []
    if (!told.generations.has(generation.id)) {
      told.generations.add(generation.id)
      lines.push(configurationLine(this.#pool, this.#name, generation))
    }
    const { lines: fresh, list, values, details } = states.changes(endpoints, inFlight)
    lines.push(...fresh)
    const numbers = (some: readonly Endpoint[]) => some.map((each) => states.numberOf(each))
    const { meanOutputTokens } = inFlight
    const line: DecisionLine = {
      ...{ k: 'd', p: this.#pool, g: generation.id, q: this.#recording.decisions },
      ...{ t: atMs, n: nowMs, s: seed, r: requestPart(request, generation.headers) },
      ...(list && { l: [...list] }),
      ...(!isSame(candidates, endpoints) && { c: numbers(candidates) }),
      ...(values.length > 0 && { e: values.map((each) => [...each]) }),
      ...(details && { i: details }),
      ...(meanOutputTokens !== told.meanOutputTokens && { o: meanOutputTokens }),
      ...this.#matches(request, candidates, generation.services),
      ...pickPart(outcome, candidates, numbers),
    }
    told.meanOutputTokens = meanOutputTokens
    lines.push(JSON.stringify(line))
    return lines
  }

  /** What endpoints hold, of the services that the configuration has fed. */
  #matches(
    request: InferenceRequest,
    candidates: readonly Endpoint[],
    services: readonly string[],
  ): Pick<DecisionLine, 'f' | 'ro' | 'gh' | 'b'> {
    const tokens = request.attributes.get(PROMPT_TOKENS)
    if (tokens === undefined) return {}
    const { matcher, routed, ghost } = this.#sources
    const usesMatcher = services.includes(PREFIX_MATCHER.name)
    const usesRouted = usesMatcher || services.includes(ROUTED_PREFIX_INDEX.name)
    const finding = usesMatcher ? findingOf(request, tokens, candidates, matcher) : undefined
    const estimate = usesRouted ? routed.match(request, tokens, candidates) : undefined
    return {
      ...(finding && { f: findingPart(finding) }),
      ...(estimate && { ro: matchPart(estimate), b: this.#keys(request, tokens, estimate) }),
      ...(services.includes(GHOST_INDEX.name) && {
        gh: matchPart(ghost.match(request, tokens, candidates)),
      }),
    }
  }

  #keys(request: InferenceRequest, tokens: PromptTokens, { blockTokens }: PrefixMatch) {
    return [...new Set(blockTokens)].map((size) => {
      let chains = this.#told.chains.get(size)
      if (chains === undefined) this.#told.chains.set(size, (chains = new KeyChains(size)))
      return chains.told(this.#sources.keysOf(request, tokens, size))
    })
  }
}

/** What the pick's plugins found of all candidates, else what they would have. */
function findingOf(
  request: InferenceRequest,
  tokens: PromptTokens,
  candidates: readonly Endpoint[],
  matcher: PrefixMatcher,
): PrefixFinding | undefined {
  const found = request.attributes.get(PREFIX_FINDING)
  if (found?.told !== undefined && isSame(found.endpoints, candidates)) return found
  // A copy with tokens of its own: the matcher learns from requests for which it was asked.
  const attributes = new Attributes()
  attributes.set(PROMPT_TOKENS, { ...tokens })
  return matcher.find({ ...request, attributes }, candidates)
}

function findingPart({ match, source, tracked, told, distrusted }: PrefixFinding): FindingPart {
  return {
    ...matchPart(match),
    ...{ source, tracked },
    ...(told && { told: packed(told.map(Number)) }),
    ...(distrusted && { distrusted: distrusted.map((reason) => reason ?? null) }),
  }
}

function matchPart({ blocks, weighted, blockTokens, usableBlocks }: PrefixMatch): MatchPart {
  const isWeighted = weighted.some((value, i) => value !== blocks[i])
  return {
    b: packed(blocks),
    ...(isWeighted && { w: packed(weighted) }),
    ...{ z: packed(blockTokens), u: packed(usableBlocks) },
  }
}

function requestPart(request: InferenceRequest, headers: readonly string[]): RequestPart {
  const { id, model, targetModel, criticality, priority, path, cacheSalt, bodyBytes } = request
  const tokens = request.attributes.get(PROMPT_TOKENS)
  const read = headers.filter((name) => request.headers.has(name))
  return {
    ...{ id: hashOf(id, 12), model },
    ...(targetModel !== model && { target: targetModel }),
    ...{ criticality, priority },
    ...(PATHS.has(path) && { path }),
    ...(request.stream && { stream: 1 }),
    ...(request.maxOutputTokens !== undefined && { maxOutputTokens: request.maxOutputTokens }),
    bytes: bodyBytes,
    ...(request.prompt !== undefined && { prompt: 1 }),
    ...(cacheSalt !== undefined && { salt: hashOf(cacheSalt, 8) }),
    ...(read.length > 0 && {
      headers: Object.fromEntries(
        read.map((name) => [name, headerValue(name, request.headers.get(name)!)]),
      ),
    }),
    ...(tokens && {
      tokens: {
        n: tokens.prompts.map(({ length }) => length),
        exact: tokens.exact,
        ...(tokens.reason !== undefined && { reason: tokens.reason }),
        ...(tokens.exactUpTo !== undefined && { exactUpTo: tokens.exactUpTo }),
      },
    }),
  }
}

function headerValue(name: string, value: string): string {
  return SECRET_HEADERS.has(name) ? hashOf(value, 8) : value.slice(0, MAX_CHARACTERS)
}

function pickPart(
  outcome: Decided['outcome'],
  candidates: readonly Endpoint[],
  numbers: (some: readonly Endpoint[]) => number[],
): Pick<DecisionLine, 'pick' | 'profile' | 'sc' | 'to' | 'error'> {
  if ('error' in outcome) {
    const { error } = outcome
    return { pick: [], error: error instanceof SchedulerError ? error.code : 'PLUGIN_FAILED' }
  }
  const { picked, scored, trace } = (outcome satisfies ProfileRuns).primary
  return {
    ...{ pick: numbers(picked), profile: trace.profile },
    ...(!isSame(scored, candidates) && { sc: numbers(scored) }),
    to: Array.from(trace.totals, (total) => Number(total.toPrecision(6))),
  }
}

function configurationLine(
  p: number,
  pool: string | undefined,
  { id, headers, services, source, text }: RecordedGeneration,
): string {
  return JSON.stringify({
    ...{ k: 'c', p, pool: pool ?? null, generation: id, source, text, headers, services },
  })
}

function isSame(a: readonly Endpoint[], b: readonly Endpoint[]): boolean {
  return a === b || (a.length === b.length && a.every((each, i) => each === b[i]))
}

function hashOf(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits)
}
