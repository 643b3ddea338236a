import { SchedulerError } from '../errors.ts'

/** What the bodies of one transport's requests may take, and take. */
export interface BodyBudget {
  readonly limits: {
    /** Bytes of one request's body. */
    readonly maxBodyBytes: number
    /** Bytes of all bodies held at once. */
    readonly maxBufferedBytes: number
  }
  /** Body bytes held by all requests. */
  bufferedBytes: number
}

/** As many pieces of a body become one where they are small on average. */
const MERGED_PIECES = 256
const SMALL_PIECE_BYTES = 1024

/** The body of one request, in the pieces in which it came, until it has been handed on. */
export class HeldBody {
  readonly #shared: BodyBudget
  #pieces: Uint8Array[] = []
  /** The last of `#pieces`, which have not been looked at for being many and small. */
  #loosePieces = 0
  #bytes = 0
  /** Counted in the shared sum until the body has been handed on. */
  #heldBytes = 0

  constructor(shared: BodyBudget) {
    this.#shared = shared
  }

  get pieces(): readonly Uint8Array[] {
    return this.#pieces
  }

  /** @throws {SchedulerError} BODY_TOO_LARGE; BUFFERS_FULL when the bodies of all requests take too much */
  add(piece: Uint8Array): void {
    const { limits, bufferedBytes } = this.#shared
    this.#bytes += piece.length
    if (this.#bytes > limits.maxBodyBytes) throw bodyTooLarge(limits.maxBodyBytes)
    if (bufferedBytes + piece.length > limits.maxBufferedBytes) {
      const text = `the bodies of the requests in progress fill the ${mebibytes(limits.maxBufferedBytes)} that --max-buffered-mib allows; try again`
      throw new SchedulerError('BUFFERS_FULL', text)
    }
    this.#heldBytes += piece.length
    this.#shared.bufferedBytes += piece.length
    this.#keep(piece)
  }

  /** Forgets the pieces; what they take stays counted until `release`. */
  drop(): void {
    this.#pieces = []
  }

  /** Takes the body off the shared sum: it has been written out, or dropped. */
  release(): void {
    this.#shared.bufferedBytes -= this.#heldBytes
    this.#heldBytes = 0
  }

  /** A client may send its body in bytes, and each piece takes a few hundred bytes more than its own. */
  #keep(piece: Uint8Array): void {
    this.#pieces.push(piece)
    if (++this.#loosePieces < MERGED_PIECES) return
    this.#loosePieces = 0
    const last = this.#pieces.slice(-MERGED_PIECES)
    if (last.reduce((sum, { length }) => sum + length, 0) > MERGED_PIECES * SMALL_PIECE_BYTES)
      return
    this.#pieces.splice(-MERGED_PIECES, MERGED_PIECES, Buffer.concat(last))
  }
}

export function bodyTooLarge(maxBodyBytes: number): SchedulerError {
  const text = `the request's body is larger than the ${mebibytes(maxBodyBytes)} that --max-body-mib allows; send a shorter one`
  return new SchedulerError('BODY_TOO_LARGE', text)
}

function mebibytes(bytes: number): string {
  return `${bytes / (1024 * 1024)} MiB`
}
