import type { PromptTokens } from '../framework/attributes.ts'
import type { InferenceRequest, Prompt } from '../framework/request.ts'
import type { Clock, Logger, Metrics, Models, Notices, Tokenizer } from '../framework/services.ts'
import { Unrenderable } from './chat/chat-variables.ts'
import { renderChat } from './chat/render-chat.ts'
import { type Doubt, doubt } from './doubt.ts'
import { EncodePool } from './encode-pool.ts'
import { EngineTokenizer } from './engine-tokenizer.ts'
import { estimateTokens } from './estimate.ts'
import { ModelFolders } from './model-folders.ts'
import { type EncodedText, ModelTokenizer } from './model-tokenizer.ts'
import { TokenizeMetrics, type TokenizePath } from './tokenize-metrics.ts'

/** Time that a request may wait for its ids; then it is picked on an estimate. */
const DEFAULT_BUDGET_MS = 400

/** Time after which a thread is given up: several times what the longest text takes. */
const STUCK_MS = 30_000

/** How long a folder that could not be read is left alone. */
const RETRY_MS = 30_000

const TOO_SLOW = doubt('too-slow', 'the ids were not there in time')

/** What a `PromptTokenizer` needs. */
export interface PromptTokenizerOptions {
  /** Directory with one folder per model; undefined when none is mounted. */
  readonly tokenizersDir: string | undefined
  readonly models: Pick<Models, 'baseOf'>
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
 * Turns prompts into the ids that the engine will use: renders the chat with the model's template and encodes it with
 * the model's tokenizer, or asks an engine's `/tokenize`.
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
  #engine: EngineTokenizer | undefined
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
    this.#metrics = new TokenizeMetrics(
      options.metrics,
      () => this.#pool.queued,
      () => this.#cacheBytes(),
    )
  }

  configure(options: Parameters<Tokenizer['configure']>[0]): void {
    this.#folders.configure(options.folders, options.fallbackModel)
    for (const [folder, entry] of this.#loaded) if ('failure' in entry) this.#loaded.delete(folder)
    for (const code of this.#shown) this.#options.notices.set(noticeOf(code), undefined)
    this.#shown.clear()
    if (options.engineUrl === this.#engineUrl) return
    void this.#engine?.close()
    this.#engineUrl = options.engineUrl
    this.#engine =
      options.engineUrl === undefined
        ? undefined
        : new EngineTokenizer(options.engineUrl, this.#budgetMs)
  }

  /**
   * Reads every tokenizer that is mounted, here (0.7 s each, on the calling thread) and in the first thread for long
   * text, so that no request waits for it. One that is mounted later is read when a request first needs it.
   */
  async prepare(): Promise<void> {
    for (const folder of this.#folders.all()) {
      const inThread = this.#pool.encode(folder, [], [])
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
    const outcome: Outcome | Promise<Outcome> =
      this.#engine === undefined
        ? this.#encode(model, prompt)
        : this.#engine.tokenize(model, prompt, signal)
    if (!(outcome instanceof Promise)) {
      return this.#finish(model, prompt, outcome, 'inline', startMs)
    }
    const path = this.#engine === undefined ? 'thread' : 'engine'
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
    await Promise.all([this.#pool.close(), this.#engine?.close()])
  }

  #encode(model: string, prompt: TextPrompt): Outcome | Promise<Outcome> {
    const tokenizer = this.#tokenizerOf(model)
    if ('code' in tokenizer) return tokenizer
    try {
      return encodeWith(tokenizer, prompt)
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
    const code = RECOVERS[path]
    if (code === undefined || !this.#shown.delete(code)) return
    this.#options.notices.set(noticeOf(code), undefined)
  }

  #cacheBytes(): number {
    let bytes = 0
    for (const entry of this.#loaded.values()) {
      if (entry instanceof ModelTokenizer) bytes += entry.cacheBytes
    }
    return bytes
  }
}

function encodeWith(tokenizer: ModelTokenizer, prompt: TextPrompt): Outcome | Promise<Outcome> {
  if (prompt.kind === 'text')
    return gather(prompt.texts.map((text) => tokenizer.encode(text, true)))
  if (tokenizer.template === undefined) {
    return doubt('no-template', `${tokenizer.folder} has no chat template`)
  }
  const chat = renderChat(tokenizer.template, prompt.body)
  if (chat instanceof Unrenderable) return chat.doubt
  const encoded = tokenizer.encode(chat.text, prompt.body.add_special_tokens === true)
  return gather([encoded], chat.doubt)
}

/** Doubts that a change of the deployment removes. */
const SHOWN = new Set([
  'no-tokenizer',
  'no-template',
  'broken-tokenizer',
  'engine-failed',
  'worker-failed',
])

/** The doubt that an answer on this path takes back; the others last until the configuration changes. */
const RECOVERS: Partial<Record<TokenizePath, string>> = {
  engine: 'engine-failed',
  thread: 'worker-failed',
}

function noticeOf(code: string): string {
  return `tokenizer:${code}`
}

type TextPrompt = Exclude<Prompt, { kind: 'tokens' }>

/** Ids of the prompts, or why there are none. */
type Outcome = Tokens | Doubt
interface Tokens {
  readonly prompts: readonly Int32Array[]
  readonly doubt: Doubt | undefined
}

/** All prompts of a request, or the first reason why one has no ids. Stays synchronous when all of them are. */
function gather(
  encoded: readonly (EncodedText | Promise<EncodedText | Doubt> | Doubt)[],
  also?: Doubt,
): Outcome | Promise<Outcome> {
  if (encoded.some((one) => one instanceof Promise)) {
    return Promise.all(encoded).then((settled) => collect(settled, also))
  }
  return collect(encoded as readonly (EncodedText | Doubt)[], also)
}

function collect(settled: readonly (EncodedText | Doubt)[], also: Doubt | undefined): Outcome {
  const prompts: Int32Array[] = []
  let first = also
  for (const one of settled) {
    if ('code' in one) return one
    prompts.push(one.ids)
    first ??= one.doubt
  }
  return { prompts, doubt: first }
}

/** The outcome, or `TOO_SLOW` when the time is up or the signal fires. What comes later still fills the cache. */
function withinBudget(
  outcome: Promise<Outcome>,
  budgetMs: number,
  signal: AbortSignal,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const giveUp = (): void => settle(TOO_SLOW)
    const timer = setTimeout(giveUp, budgetMs)
    const settle = (result: Outcome): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
      resolve(result)
    }
    signal.addEventListener('abort', giveUp)
    if (signal.aborted) giveUp()
    void outcome.then(settle)
  })
}
