/** Why token ids may differ from the engine's: a short code for metrics and words for people. */
export interface Doubt {
  /** Lower case, words joined by hyphens; one of a small fixed set. */
  readonly code: string
  /** One sentence without the client's text in it. */
  readonly text: string
}

export function doubt(code: string, text: string): Doubt {
  return { code, text }
}
