import type { EncodingOptions } from '../../framework/request.ts'
import type { Doubt } from '../doubt.ts'

/** A rendered chat as it is sent from a thread. */
export interface RenderedText {
  /** The text that the engine tokenizes, in parts, none of them empty. */
  readonly parts: readonly string[]
  readonly encoding: EncodingOptions
  /**
   * The same text with a mark where the first medium stands: what both begin with is the engine's. Undefined without media.
   */
  readonly markedParts: readonly string[] | undefined
  /** Why the engine's text may be another; undefined when it is the same. */
  readonly doubt: Doubt | undefined
}

/** A chat as the text that the engine tokenizes. */
export class RenderedChat implements RenderedText {
  readonly parts: readonly string[]
  readonly encoding: EncodingOptions
  readonly markedParts: readonly string[] | undefined
  readonly doubt: Doubt | undefined

  constructor({ parts, encoding, markedParts, doubt: why }: RenderedText) {
    this.parts = parts
    this.encoding = encoding
    this.markedParts = markedParts
    this.doubt = why
  }

  /** All parts together, joined anew at each call. */
  get text(): string {
    return this.parts.join('')
  }

  get marked(): string | undefined {
    return this.markedParts?.join('')
  }
}
