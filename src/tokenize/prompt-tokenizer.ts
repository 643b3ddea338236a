import { setImmediate as nextTurn } from 'node:timers/promises'
import type { PromptTokens } from '../framework/attributes.ts'
import type { Cancellation } from '../framework/cancellation.ts'
import { DEFAULT_LIMITS, type Limits } from '../framework/limits.ts'
import type { ChatPrompt, InferenceRequest, Prompt, TextPrompt } from '../framework/request.ts'
import type {
  Clock,
  Endpoints,
  EngineVersions,
  Logger,
  Metrics,
  Models,
  Notices,
  Tokenizer,
  TokenSource,
} from '../framework/services.ts'
import { type EngineRules, rulesOfAll } from './chat/engine-rules.ts'
import { KnownMessages } from './chat/known-messages.ts'
import { OwnTemplates } from './chat/own-templates.ts'
import type { KnownBeginning } from './conversation-prefixes.ts'
import { CountCheck, DEFAULT_MAX_MISMATCHES } from './count-check.ts'
import { type Doubt, doubt } from './doubt.ts'
import { EncodePool } from './encode-pool.ts'
import { clientTokens, type EngineFacts, encodePrompt } from './encode-prompt.ts'
import { EngineTokenizer } from './engine-tokenizer.ts'
import { estimateTokens } from './estimate.ts'
import { ModelFolders } from './model-folders.ts'
import { ModelTokenizer } from './model-tokenizer.ts'
import { type Outcome, withinBudget } from './outcome.ts'
import { PoolTokenizer } from './pool-tokenizer.ts'
import { ShownDoubts } from './shown-doubts.ts'
import { TokenizeMetrics, type TokenizePath } from './tokenize-metrics.ts'
import { tokenizerFolder } from './tokenizer-file.ts'

/** Time that a request may wait for its ids; then it is picked on an estimate. */
const DEFAULT_BUDGET_MS = 400

/** Time after which a thread is given up: several times what the longest text takes. */
const STUCK_MS = 30_000

/** New text that a tokenizer which remembers no words may encode on the event loop, in UTF-16 units: 0.7 ms at the slowest rate seen. */
const INLINE_WORDLESS_CHARACTERS = 128

/** Memory for messages of chats that may go on. */
const MESSAGES_BYTES = 32 * 1024 * 1024

/** Shorter bodies are parsed in less time than they are compared with known ones. */
const MIN_KNOWN_BYTES = 4096

/** New messages of so many bytes are parsed in one turn of the event loop and rendered in the next: some 2 ms each. */
const MAX_TURN_BYTES = 128 * 1024

/** How long a folder that could not be read is left alone. */
const RETRY_MS = 30_000

/** What a `PromptTokenizer` needs. */
export interface PromptTokenizerOptions {
  /** Directory with one folder per model; undefined when none is mounted. */
  readonly tokenizersDir: string | undefined
  readonly models: Pick<Models, 'baseOf'>
  /** Which releases the engines are, and what they take; unknown when absent. */
  readonly engines?: Pick<EngineVersions, 'versions' | 'contextTokens'>
  /** Whose `/tokenize` is asked for models without a folder; nobody's when absent. */
  readonly endpoints?: Pick<Endpoints, 'list'>
  /**
   * Whether some engine has told by KV events what it holds: where none has, exact ids would match nothing, and engines are
   * asked only if the configuration says so. Always true when absent.
   */
  readonly hasEvents?: () => boolean
  /** How they are spoken to; `http` when absent. */
  readonly engineScheme?: 'http' | 'https'
  /** True takes any certificate of theirs; true when absent. */
  readonly engineSkipVerify?: boolean
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  /** Memory for the ids of text seen before, per model; 64 MiB when absent. */
  readonly cacheBytes?: number
  /** Threads for long text; 2 when absent. They start when there is long text. */
  readonly threads?: number
  /** Time that a request may wait for its ids, in milliseconds; 400 when absent. */
  readonly budgetMs?: number
  /** Beyond them tokens are estimated; the defaults when absent. */
  readonly limits?: Pick<Limits, 'maxMessages' | 'maxPromptChars'>
}

/**
 * Turns prompts into the ids that the engine will use: asks the `/tokenize` of the engine that the configuration names;
 * else renders the chat with the template in the model's folder and encodes it with the tokenizer there; else, without a
 * folder, asks the engines of the pool, as long as some engine's events make exact ids useful.
 *
 * The answer is marked exact only where the engine is known to use the same ids. Else `reason` says why not, and the ids
 * are the best guess: the engine's ids wherever a tokenizer could be used, pseudo ids of four bytes each where not.
 * Text that was seen before, piece by piece between special tokens, is not encoded again. Long new text is encoded in a
 * thread; a request that waits longer than 400 ms gets pseudo ids.
 */
export class PromptTokenizer implements Tokenizer {
  readonly #options: PromptTokenizerOptions
  readonly #logger: Logger
  readonly #folders: ModelFolders
  readonly #pool: EncodePool
  readonly #loaded = new Map<
    string,
    ModelTokenizer | { readonly failure: Doubt; readonly atMs: number }
  >()
  readonly #metrics: TokenizeMetrics
  readonly #shown: ShownDoubts
  readonly #budgetMs: number
  readonly #engine: EngineTokenizer
  readonly #engines: PoolTokenizer | undefined
  readonly #limits: Pick<Limits, 'maxMessages' | 'maxPromptChars'>
  readonly #ownTemplates: OwnTemplates
  readonly #messages = new KnownMessages(MESSAGES_BYTES)
  readonly #countCheck: CountCheck
  #engineUrl: string | undefined
  #source: TokenSource = 'auto'
  #trustsOwnTemplates = false
  #rules:
    | { readonly versions: readonly unknown[]; readonly sets: readonly EngineRules[] }
    | undefined

  constructor(options: PromptTokenizerOptions) {
    this.#options = options
    this.#limits = options.limits ?? DEFAULT_LIMITS
    this.#ownTemplates = new OwnTemplates(this.#limits.maxMessages)
    this.#logger = options.logger.named('tokenizer')
    this.#shown = new ShownDoubts(options.notices, this.#logger)
    this.#folders = new ModelFolders(
      options.tokenizersDir,
      options.models,
      options.clock,
      this.#logger,
    )
    this.#pool = new EncodePool(options.threads ?? 2, STUCK_MS)
    this.#budgetMs = options.budgetMs ?? DEFAULT_BUDGET_MS
    this.#engine = new EngineTokenizer({ insecureSkipVerify: options.engineSkipVerify ?? true })
    const { endpoints, clock, engineScheme: scheme = 'http' } = options
    const parts = endpoints && { endpoints, clock, scheme, budgetMs: this.#budgetMs }
    this.#engines = parts && new PoolTokenizer(parts, this.#engine)
    this.#countCheck = new CountCheck(options.metrics, options.notices, this.#logger)
    this.#metrics = new TokenizeMetrics(
      options.metrics,
      () => this.#pool.queued,
      () => this.#cacheBytes(),
    )
  }

  /** What is loaded stays, unless no model needs it any more or its files have changed. */
  configure(options: Parameters<Tokenizer['configure']>[0]): void {
    this.#folders.configure(options.folders, options.fallbackModel)
    const wanted = this.#folders.all()
    for (const [path, entry] of this.#loaded) {
      const isGood =
        entry instanceof ModelTokenizer &&
        wanted.includes(path) &&
        entry.folder.stamp === tokenizerFolder(path).stamp
      if (!isGood) this.#loaded.delete(path)
    }
    this.#pool.keep(wanted)
    this.#shown.clear()
    this.#engineUrl = options.engineUrl?.replace(/\/+$/, '')
    this.#source = options.source ?? 'auto'
    this.#trustsOwnTemplates = options.trustRequestChatTemplate ?? false
    const maxMismatches = options.maxMismatches ?? DEFAULT_MAX_MISMATCHES
    this.#countCheck.restart(this.#asksWhenWrong ? maxMismatches : undefined)
    this.#engine.forget()
  }

  /** Whether engines can be asked where the local tokenizer proves wrong. */
  get #asksWhenWrong(): boolean {
    return this.#source === 'auto' && this.#engines !== undefined && this.#engineUrl === undefined
  }

  /**
   * Reads every tokenizer that is mounted and not loaded, here (0.7 s each, on the calling thread) and in the first thread
   * for long text, so that no request waits for it. One that is mounted later is read when a request first needs it.
   *
   * @param inThread false leaves the thread until there is long text
   */
  async prepare({ inThread = true } = {}): Promise<void> {
    for (const folder of this.#folders.all()) {
      if (this.#loaded.get(folder) instanceof ModelTokenizer) continue
      const loading = inThread ? this.#pool.encode(tokenizerFolder(folder), [], []) : []
      const tokenizer = this.#load(folder)
      const loaded = await loading
      if (!(tokenizer instanceof ModelTokenizer)) this.#shown.say(tokenizer, undefined)
      else if ('code' in loaded) this.#shown.say(loaded, undefined)
    }
  }

  tokenize(
    request: InferenceRequest,
    cancellation: Cancellation,
  ): Promise<PromptTokens> | PromptTokens {
    const { prompt } = request
    if (prompt === undefined) return { prompts: [], exact: true }
    const { targetModel: model } = request
    const startMs = this.#options.clock.nowMs()
    if (prompt.kind === 'tokens') {
      if (prompt.encoding === undefined) return { prompts: prompt.prompts, exact: true }
      const tokens = clientTokens(prompt, this.#factsOf(model))
      return this.#finish(model, prompt, tokens, 'inline', startMs)
    }
    const asked = this.#askEngine(model, prompt, cancellation)
    const outcome = asked ?? this.#encode(model, prompt, request.bodyBytes)
    if (!(outcome instanceof Promise)) {
      return this.#finish(model, prompt, outcome, 'inline', startMs)
    }
    const path = asked === undefined ? 'thread' : 'engine'
    return withinBudget(outcome, this.#budgetMs, cancellation.signal).then((result) =>
      this.#finish(model, prompt, result, path, startMs),
    )
  }

  decode(model: string, ids: ArrayLike<number>): string | undefined {
    const tokenizer = this.#tokenizerOf(model)
    return 'code' in tokenizer ? undefined : tokenizer.decode(ids)
  }

  counted(model: string, here: number, engine: number): void {
    this.#countCheck.compare(model, here, engine)
  }

  /** Ends the threads; requests that wait get their estimate. */
  async close(): Promise<void> {
    await Promise.all([this.#pool.close(), this.#engine.close(), this.#ownTemplates.close()])
  }

  #factsOf(model: string): EngineFacts {
    const versions = this.#options.engines?.versions() ?? NO_VERSIONS
    if (this.#rules?.versions !== versions) this.#rules = { versions, sets: rulesOfAll(versions) }
    return {
      ruleSets: this.#rules.sets,
      contextTokens: this.#options.engines?.contextTokens(model),
      maxMessages: this.#limits.maxMessages,
    }
  }

  /** Undefined when a folder of the model is to be used, or nobody can be asked. */
  #askEngine(
    model: string,
    prompt: Prompt,
    cancellation: Cancellation,
  ): Promise<Outcome> | Doubt | undefined {
    if (this.#engineUrl !== undefined) {
      const limit = AbortSignal.any([cancellation.signal, AbortSignal.timeout(this.#budgetMs)])
      return this.#engine
        .tokenize(this.#engineUrl, model, prompt, limit)
        .then((answer) => ('prompts' in answer ? answer : answer.doubt))
    }
    if (!this.#engines || this.#source === 'local') return undefined
    const isLocal =
      this.#source === 'auto' &&
      typeof this.#folders.find(model) === 'string' &&
      !this.#countCheck.distrusts(model)
    if (isLocal) return undefined
    if (this.#source === 'auto' && this.#options.hasEvents?.() === false) return NO_EVENTS
    return this.#engines.tokenize(model, prompt, cancellation.signal)
  }

  #encode(
    model: string,
    prompt: TextPrompt | ChatPrompt,
    bodyBytes: number,
  ): Outcome | Promise<Outcome> {
    const tokenizer = this.#tokenizerOf(model)
    if ('code' in tokenizer) return tokenizer
    try {
      if (prompt.kind === 'text' || bodyBytes < MIN_KNOWN_BYTES) {
        return this.#encodeRead(tokenizer, model, prompt)
      }
      const read = this.#messages.read(prompt)
      if ((read.newBytes ?? 0) <= MAX_TURN_BYTES) return this.#encodeRead(tokenizer, model, read)
      return nextTurn()
        .then(() => this.#encodeRead(tokenizer, model, read))
        .catch(unreadable)
    } catch (error) {
      return unreadable(error)
    }
  }

  /** @throws when the prompt cannot be rendered */
  #encodeRead(
    tokenizer: ModelTokenizer,
    model: string,
    prompt: TextPrompt | ChatPrompt,
  ): Outcome | Promise<Outcome> {
    const renderOwn = this.#trustsOwnTemplates
      ? this.#ownTemplates.render.bind(this.#ownTemplates)
      : undefined
    return encodePrompt(tokenizer, prompt, this.#factsOf(model), renderOwn)
  }

  #tokenizerOf(model: string): ModelTokenizer | Doubt {
    const folder = this.#folders.find(model)
    return typeof folder === 'string' ? this.#load(folder) : folder
  }

  #load(folder: string): ModelTokenizer | Doubt {
    const nowMs = this.#options.clock.nowMs()
    const entry = this.#loaded.get(folder)
    if (entry instanceof ModelTokenizer) return entry
    if (entry !== undefined && nowMs - entry.atMs < RETRY_MS) return entry.failure
    try {
      const tokenizer = new ModelTokenizer(
        folder,
        this.#options.cacheBytes ?? 64 * 1024 * 1024,
        this.#pool,
        {
          hit: (count) => this.#metrics.pieces('hit', count),
          miss: (count) => this.#metrics.pieces('miss', count),
        },
        this.#limits.maxPromptChars,
        this.#budgetMs,
        INLINE_WORDLESS_CHARACTERS,
      )
      this.#loaded.set(folder, tokenizer)
      const ms = Math.round(this.#options.clock.nowMs() - nowMs)
      this.#logger.info('tokenizer loaded', {
        folder,
        ms,
        chatTemplate: tokenizer.template !== undefined,
      })
      return tokenizer
    } catch (error) {
      const failure = doubt(
        'broken-tokenizer',
        `the tokenizer in ${folder} cannot be read: ${error}`,
      )
      this.#loaded.set(folder, { failure, atMs: nowMs })
      return failure
    }
  }

  #finish(
    model: string,
    prompt: Prompt,
    outcome: Outcome,
    path: TokenizePath,
    startMs: number,
  ): PromptTokens {
    const seconds = (this.#options.clock.nowMs() - startMs) / 1000
    if ('code' in outcome) {
      this.#metrics.request('estimate', outcome.code, path, seconds)
      this.#shown.say(outcome, model)
      const known = path === 'engine' ? this.#engine.beginning(model, prompt) : undefined
      if (known !== undefined) return continued(known, outcome.text)
      return { prompts: estimateTokens(prompt), exact: false, reason: outcome.text }
    }
    this.#shown.recovered(path)
    const { prompts, doubt: why, exactUpTo } = outcome
    this.#metrics.request(why === undefined ? 'exact' : 'guess', why?.code ?? 'none', path, seconds)
    if (why === undefined) return { prompts, exact: true }
    const known = exactUpTo !== undefined && { exactUpTo }
    return { prompts, exact: false, reason: why.text, ...known }
  }

  #cacheBytes(): number {
    let { bytes } = this.#messages
    for (const entry of this.#loaded.values()) {
      if (entry instanceof ModelTokenizer) bytes += entry.cacheBytes
    }
    return bytes
  }
}

/** Such as nesting deeper than the stack. The message could quote the prompt. */
function unreadable(error: unknown): Doubt {
  return doubt('unreadable', `the prompt cannot be rendered: ${(error as Error).name}`)
}

/** What an engine said earlier of the beginning of a conversation, and an estimate of what came to it since. */
function continued({ ids, rest }: KnownBeginning, reason: string): PromptTokens {
  const [estimate = new Int32Array(0)] = estimateTokens({ kind: 'chat', body: { messages: rest } })
  const joined = new Int32Array(ids.length + estimate.length)
  joined.set(ids)
  joined.set(estimate, ids.length)
  return { prompts: [joined], exact: false, reason, exactUpTo: ids.length }
}

const NO_EVENTS = doubt(
  'no-events',
  'no engine tells by KV events what it holds, so that exact ids would match nothing and none is asked for them; set source: engine of token-producer to ask all the same',
)

const NO_VERSIONS: readonly (string | undefined)[] = []
