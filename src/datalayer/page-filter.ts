import type { EnginePageReader } from './engine-page.ts'

/** How much a page told. */
export interface PageYield {
  /** Samples that were read. */
  readonly samples: number
  readonly bytes: number
}

/**
 * Asks a server for the metrics that are read instead of its whole page, where it can tell them apart.
 *
 * prometheus_client, which vLLM serves its page with, answers `name[]=NAME` with the samples of that name alone; others
 * answer with the whole page, a part of what was asked for, or an error. So a server is asked once, after a whole page: the
 * answer must be smaller and tell as much. One that later tells less is compared with a whole page again.
 */
export class PageFilter {
  #reader: EnginePageReader | undefined
  #query: string | undefined
  #whole: PageYield | undefined
  #state: 'untried' | 'kept' | 'refused' = 'untried'
  /** Samples of a filtered answer that told less than it should; undefined without one. */
  #doubtful: number | undefined

  /** True while the server is asked for what is read alone. */
  get isKept(): boolean {
    return this.#state === 'kept'
  }

  /** The path to ask for next, for a page that is read by `reader`. */
  pathOf(path: string, reader: EnginePageReader): string {
    if (reader !== this.#reader) {
      this.reset()
      this.#reader = reader
      this.#query = reader.names.map((name) => `name%5B%5D=${encodeURIComponent(name)}`).join('&')
    }
    const asksAll =
      this.#whole === undefined || this.#state === 'refused' || this.#doubtful !== undefined
    return asksAll ? path : `${path}${path.includes('?') ? '&' : '?'}${this.#query}`
  }

  /** Takes note of a whole page. */
  sawWhole(page: PageYield): void {
    if (this.#doubtful !== undefined) {
      this.#state = page.samples > this.#doubtful ? 'refused' : 'kept'
      this.#doubtful = undefined
    }
    this.#whole = page
  }

  /**
   * Whether a filtered answer tells what the whole page would; if not, the whole page is to be asked for.
   *
   * @param page undefined for an answer that tells nothing
   */
  accepts(page: PageYield | undefined): boolean {
    const { samples, bytes } = this.#whole!
    if (page === undefined || page.samples < samples) {
      this.#doubtful = page?.samples ?? 0
      return false
    }
    // A whole page is as good, but then it need not be asked for in many words.
    this.#state = page.bytes < bytes ? 'kept' : 'refused'
    this.#whole = { samples: page.samples, bytes }
    return true
  }

  /** The server may be another one, or has another page: it is tried anew. */
  reset(): void {
    this.#whole = undefined
    this.#state = 'untried'
    this.#doubtful = undefined
  }
}
