/** What plugins asked for that a recording does not have, each once. */
export class Lacks {
  readonly #asked = new Map<string, Lack>()

  /** @param what in words that follow "asks for" */
  ask(what: string, of: Pick<Lack, 'service' | 'header' | 'data'> = {}): void {
    const known = this.#asked.get(what)
    if (known) known.times++
    else this.#asked.set(what, { what, times: 1, ...of })
  }

  list(): readonly Readonly<Lack>[] {
    return [...this.#asked.values()]
  }
}

/** One thing that is not there. */
export interface Lack {
  readonly what: string
  /** How often it was asked for. */
  times: number
  /** Name of the service that would tell it. */
  readonly service?: string
  /** Name of the header. */
  readonly header?: string
  /** Name of what a producer makes. */
  readonly data?: string
}
