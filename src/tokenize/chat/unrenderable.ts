import { type Doubt, doubt } from '../doubt.ts'

/** The chat cannot be rendered here; the request gets an estimate. */
export class Unrenderable {
  readonly doubt: Doubt
  /** True when the engine refuses such a request too, so that no ids exist to differ from. */
  readonly refused: boolean

  constructor(code: string, text: string, refused = false) {
    this.doubt = doubt(code, text)
    this.refused = refused
  }
}

/** What an engine answers with an error. */
export function refused(text: string): Unrenderable {
  return new Unrenderable('bad-messages', text, true)
}
