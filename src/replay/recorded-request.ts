import { Attributes, PROMPT_TOKENS, type PromptTokens } from '../framework/attributes.ts'
import type { InferenceRequest, Prompt } from '../framework/request.ts'
import { SECRET_HEADERS } from './format.ts'
import type { Lacks } from './lacks.ts'
import type { RecordedDecision } from './recording.ts'

/** A recorded request as plugins see it. What was not recorded of it is noted when it is read. */
export function recordedRequest(
  { request, configuration }: RecordedDecision,
  lacks: Lacks,
): InferenceRequest {
  const attributes = new Attributes()
  if (request.tokens) attributes.set(PROMPT_TOKENS, tokensOf(request.tokens, lacks))
  return {
    id: request.id,
    path: request.path ?? '/',
    headers: new RecordedHeaders(request.headers ?? {}, configuration.headers, lacks),
    model: request.model,
    targetModel: request.target ?? request.model,
    criticality: request.criticality,
    priority: request.priority,
    prompt: request.prompt === 1 ? unreadable<Prompt>({}, 'the text of prompts', lacks) : undefined,
    cacheSalt: request.salt,
    maxOutputTokens: request.maxOutputTokens,
    stream: request.stream === 1,
    bodyBytes: request.bytes,
    attributes,
  }
}

function tokensOf(
  { n, exact, reason, exactUpTo }: NonNullable<RecordedDecision['request']['tokens']>,
  lacks: Lacks,
): PromptTokens {
  return {
    prompts: n.map((length) => unreadable(idsOf(length), 'token ids', lacks)),
    exact,
    ...(reason !== undefined && { reason }),
    ...(exactUpTo !== undefined && { exactUpTo }),
  }
}

const KEPT_LENGTHS = 1000
const idsByLength = new Map<number, Int32Array>()

/** Nobody's ids, and as many. Never written to. */
function idsOf(length: number): Int32Array {
  let ids = idsByLength.get(length)
  if (ids === undefined) {
    if (idsByLength.size >= KEPT_LENGTHS) idsByLength.clear()
    idsByLength.set(length, (ids = new Int32Array(length)))
  }
  return ids
}

/** The object, of which nothing but its length can be read without being noted. */
function unreadable<T extends object>(of: object, what: string, lacks: Lacks): T {
  return new Proxy(of, {
    get(target, key) {
      if (key !== 'length') lacks.ask(what)
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  }) as T
}

/** Headers of which only some were recorded. */
class RecordedHeaders extends Map<string, string> {
  readonly #recorded: readonly string[]
  readonly #lacks: Lacks

  constructor(values: Readonly<Record<string, string>>, recorded: readonly string[], lacks: Lacks) {
    super()
    for (const [name, value] of Object.entries(values)) super.set(name, value)
    this.#recorded = recorded
    this.#lacks = lacks
  }

  override get(name: string): string | undefined {
    this.#note(name)
    return super.get(name)
  }

  override has(name: string): boolean {
    this.#note(name)
    return super.has(name)
  }

  override entries() {
    this.#lacks.ask('all request headers')
    return super.entries()
  }

  override keys() {
    this.#lacks.ask('all request headers')
    return super.keys()
  }

  override values() {
    this.#lacks.ask('all request headers')
    return super.values()
  }

  override [Symbol.iterator]() {
    return this.entries()
  }

  override forEach(each: (value: string, key: string, map: Map<string, string>) => void): void {
    this.#lacks.ask('all request headers')
    super.forEach(each)
  }

  #note(header: string): void {
    if (!this.#recorded.includes(header)) {
      this.#lacks.ask(`the request header ${header}`, { header })
    } else if (SECRET_HEADERS.has(header)) {
      this.#lacks.ask(`the request header ${header}, of which a hash is recorded`, { header })
    }
  }
}
