import type { PromptTokens } from '../framework/attributes.ts'
import type { InferenceRequest, Prompt } from '../framework/request.ts'
import type {
  Clock,
  Endpoints,
  Logger,
  Metrics,
  Models,
  Notices,
  Tokenizer,
} from '../framework/services.ts'
import { type Doubt, doubt } from './doubt.ts'
import { EncodePool } from './encode-pool.ts'
import { encodePrompt } from './encode-prompt.ts'
import { EngineTokenizer } from './engine-tokenizer.ts'
import { estimateTokens } from './estimate.ts'
import { ModelFolders } from './model-folders.ts'
import { ModelTokenizer } from './model-tokenizer.ts'
import { type Outcome, withinBudget } from './outcome.ts'
import { PoolTokenizer } from './pool-tokenizer.ts'
import { TokenizeMetrics, type TokenizePath } from './tokenize-metrics.ts'
import { tokenizerFolder } from './tokenizer-file.ts'

/** Time that a request may wait for its ids; then it is picked on an estimate. */
const DEFAULT_BUDGET_MS = 400

/** Time after which a thread is given up: several times what the longest text takes. */
const STUCK_MS = 30_000

/** How long a folder that could not be read is left alone. */
const RETRY_MS = 30_000

/** What a `PromptTokenizer` needs. */
export interface PromptTokenizerOptions {
  /** Directory with one folder per model; undefined when none is mounted. */
  readonly tokenizersDir: string | undefined
  readonly models: Pick<Models, 'baseOf'>
  /** Whose `/tokenize` is asked for models without a folder; nobody's when absent. */
  readonly endpoints?: Pick<Endpoints, 'list'>
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
}

/**
 * Turns prompts into the ids that the engine will use: asks the `/tokenize` of the engine that the configuration names;
 * else renders the chat with the template in the model's folder and encodes it with the tokenizer there; else, without a
 * folder, asks the engines of the pool.
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
  /** Codes of the doubts that are shown now. */
  readonly #shown = new Set<string>()
  readonly #budgetMs: number
  readonly #engine: EngineTokenizer
  readonly #engines: PoolTokenizer | undefined
  #engineUrl: string | undefined

  constructor(options: PromptTokenizerOptions) {
    this.#options = options
    this.#logger = options.logger.named('tokenizer')
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
    for (const code of this.#shown) this.#options.notices.set(noticeOf(code), undefined)
    this.#shown.clear()
    this.#engineUrl = options.engineUrl?.replace(/\/+$/, '')
  }

  /**
   * Reads every tokenizer that is mounted and not loaded, here (0.7 s each, on the calling thread) and in the first thread
   * for long text, so that no request waits for it. One that is mounted later is read when a request first needs it.
   */
  async prepare(): Promise<void> {
    for (const folder of this.#folders.all()) {
      if (this.#loaded.get(folder) instanceof ModelTokenizer) continue
      const inThread = this.#pool.encode(tokenizerFolder(folder), [], [])
      const tokenizer = this.#load(folder)
      const failure = await inThread
      if (!(tokenizer instanceof ModelTokenizer)) this.#say(tokenizer, undefined)
      else if ('code' in failure) this.#say(failure, undefined)
    }
  }

  tokenize(request: InferenceRequest, signal: AbortSignal): Promise<PromptTokens> | PromptTokens {
    const { prompt } = request
    if (prompt === undefined) return { prompts: [], exact: true }
    if (prompt.kind === 'tokens') return { prompts: prompt.prompts, exact: true }
    const startMs = this.#options.clock.nowMs()
    const { targetModel: model } = request
    const asked = this.#askEngine(model, prompt, signal)
    const outcome = asked ?? this.#encode(model, prompt)
    if (!(outcome instanceof Promise)) {
      return this.#finish(model, prompt, outcome, 'inline', startMs)
    }
    const path = asked === undefined ? 'thread' : 'engine'
    return withinBudget(outcome, this.#budgetMs, signal).then((result) =>
      this.#finish(model, prompt, result, path, startMs),
    )
  }

  decode(model: string, ids: ArrayLike<number>): string | undefined {
    const tokenizer = this.#tokenizerOf(model)
    return 'code' in tokenizer ? undefined : tokenizer.decode(ids)
  }

  /** Ends the threads; requests that wait get their estimate. */
  async close(): Promise<void> {
    await Promise.all([this.#pool.close(), this.#engine.close()])
  }

  /** Undefined when a folder of the model is to be used, or nobody can be asked. */
  #askEngine(model: string, prompt: Prompt, signal: AbortSignal): Promise<Outcome> | undefined {
    if (this.#engineUrl !== undefined) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(this.#budgetMs)])
      return this.#engine
        .tokenize(this.#engineUrl, model, prompt, limit)
        .then((answer) => ('prompts' in answer ? answer : answer.doubt))
    }
    if (!this.#engines || typeof this.#folders.find(model) === 'string') return undefined
    return this.#engines.tokenize(model, prompt, signal)
  }

  #encode(model: string, prompt: Exclude<Prompt, { kind: 'tokens' }>): Outcome | Promise<Outcome> {
    const tokenizer = this.#tokenizerOf(model)
    if ('code' in tokenizer) return tokenizer
    try {
      return encodePrompt(tokenizer, prompt)
    } catch (error) {
      // Such as nesting deeper than the stack. The message could quote the prompt.
      return doubt('unreadable', `the prompt cannot be rendered: ${(error as Error).name}`)
    }
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
      this.#say(outcome, model)
      return { prompts: estimateTokens(prompt), exact: false, reason: outcome.text }
    }
    this.#recovered(path)
    const { prompts, doubt: why } = outcome
    this.#metrics.request(why === undefined ? 'exact' : 'guess', why?.code ?? 'none', path, seconds)
    return why === undefined
      ? { prompts, exact: true }
      : { prompts, exact: false, reason: why.text }
  }

  /** Logged once; what the operator can mend is shown until it is mended. */
  #say(why: Doubt, model: string | undefined): void {
    this.#logger.warnOnce(`estimate:${why.code}`, `token ids are estimated: ${why.text}`, {
      reason: why.code,
      ...(model === undefined ? {} : { model: model.slice(0, 128) }),
    })
    if (!SHOWN.has(why.code)) return
    this.#shown.add(why.code)
    this.#options.notices.set(
      noticeOf(why.code),
      `prompts are estimated, prefix matches are not exact: ${why.text}`,
    )
  }

  /** The engine or the thread has answered again. */
  #recovered(path: TokenizePath): void {
    for (const code of RECOVERS[path]) {
      if (this.#shown.delete(code)) this.#options.notices.set(noticeOf(code), undefined)
    }
  }

  #cacheBytes(): number {
    let bytes = 0
    for (const entry of this.#loaded.values()) {
      if (entry instanceof ModelTokenizer) bytes += entry.cacheBytes
    }
    return bytes
  }
}

/** Doubts that a change of the deployment removes. */
const SHOWN = new Set([
  'no-tokenizer',
  'no-template',
  'broken-tokenizer',
  'engine-failed',
  'no-tokenize-route',
  'worker-failed',
])

/** The doubts that an answer on this path takes back; the others last until the configuration changes. */
const RECOVERS: Readonly<Record<TokenizePath, readonly string[]>> = {
  engine: ['engine-failed', 'no-tokenize-route'],
  thread: ['worker-failed'],
  inline: [],
}

function noticeOf(code: string): string {
  return `tokenizer:${code}`
}
