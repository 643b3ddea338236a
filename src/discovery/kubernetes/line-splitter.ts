const NEWLINE = 10

/** Cuts a stream of bytes into lines of bounded length. */
export class LineSplitter {
  readonly #maxLineBytes: number
  #rest: Buffer[] = []
  #restBytes = 0

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes
  }

  /** The lines that end within the chunk, empty ones left out; undefined when one is too long. */
  push(chunk: Buffer): readonly string[] | undefined {
    const lines: string[] = []
    let from = 0
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
      if (!this.#keep(chunk.subarray(from, at))) return undefined
      if (this.#restBytes > 0) lines.push(Buffer.concat(this.#rest, this.#restBytes).toString())
      this.#rest = []
      this.#restBytes = 0
      from = at + 1
    }
    return this.#keep(chunk.subarray(from)) ? lines : undefined
  }

  #keep(part: Buffer): boolean {
    if (part.length > 0) this.#rest.push(part)
    this.#restBytes += part.length
    return this.#restBytes <= this.#maxLineBytes
  }
}
