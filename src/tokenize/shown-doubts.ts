import type { Logger, Notices } from '../framework/services.ts'
import type { Doubt } from './doubt.ts'
import type { TokenizePath } from './tokenize-metrics.ts'

/** Doubts that a change of the deployment removes. */
const SHOWN = new Set([
  'no-tokenizer',
  'no-template',
  'broken-tokenizer',
  'engine-failed',
  'no-tokenize-route',
  'worker-failed',
])

/** Doubts from which no pick suffers: decisions and the metric have them. */
const SILENT = new Set(['no-events'])

/** The doubts that an answer on this path takes back; the others last until the configuration changes. */
const RECOVERS: Readonly<Record<TokenizePath, readonly string[]>> = {
  engine: ['engine-failed', 'no-tokenize-route'],
  thread: ['worker-failed'],
  inline: [],
}

/** Says why prompts are estimated: each reason is logged once, and shown until it is mended if an operator can mend it. */
export class ShownDoubts {
  readonly #notices: Notices
  readonly #logger: Logger
  /** Codes of the doubts that are shown now. */
  readonly #shown = new Set<string>()

  constructor(notices: Notices, logger: Logger) {
    this.#notices = notices
    this.#logger = logger
  }

  /** @param model undefined when it concerns no single request */
  say(why: Doubt, model: string | undefined): void {
    if (SILENT.has(why.code)) return
    this.#logger.warnOnce(`estimate:${why.code}`, `token ids are estimated: ${why.text}`, {
      reason: why.code,
      ...(model === undefined ? {} : { model: model.slice(0, 128) }),
    })
    if (!SHOWN.has(why.code)) return
    this.#shown.add(why.code)
    this.#notices.set(
      noticeOf(why.code),
      `prompts are estimated, prefix matches are not exact: ${why.text}`,
    )
  }

  /** The engine or the thread has answered again. */
  recovered(path: TokenizePath): void {
    for (const code of RECOVERS[path]) {
      if (this.#shown.delete(code)) this.#notices.set(noticeOf(code), undefined)
    }
  }

  clear(): void {
    for (const code of this.#shown) this.#notices.set(noticeOf(code), undefined)
    this.#shown.clear()
  }
}

function noticeOf(code: string): string {
  return `tokenizer:${code}`
}
