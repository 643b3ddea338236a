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

/** Room that a body gets because its length was told; more than this it gets when it has come. */
const MAX_EXPECTED_BYTES = 1024 * 1024

const NOTHING: Uint8Array = new Uint8Array(0)

/** The body of one request until it has been handed on: where it lies, if it came at once, else put together. */
export class HeldBody {
  readonly #shared: BodyBudget
  #expectedBytes = 0
  /** The body is the first `#bytes` of it. */
  #room: Uint8Array = NOTHING
  /** False where the room is somebody else's. */
  #ownsRoom = false
  #bytes = 0
  #pieces: readonly Uint8Array[] | undefined
  /** Counted in the shared sum until the body has been handed on. */
  #heldBytes = 0

  constructor(shared: BodyBudget) {
    this.#shared = shared
  }

  /** What has come, in one piece; the same array until more comes. */
  get pieces(): readonly Uint8Array[] {
    this.#pieces ??= this.#bytes === 0 ? [] : [this.#room.subarray(0, this.#bytes)]
    return this.#pieces
  }

  /** Says how long the body will be; what is no length is ignored. */
  expect(bytes: number): void {
    if (bytes > 0) this.#expectedBytes = Math.min(bytes, MAX_EXPECTED_BYTES)
  }

  /**
   * @param mayKeep true where `piece` stays as it is
   * @throws {SchedulerError} BODY_TOO_LARGE; BUFFERS_FULL when the bodies of all requests take too much
   */
  add(piece: Uint8Array, mayKeep: boolean): void {
    const { limits, bufferedBytes } = this.#shared
    const bytes = this.#bytes + piece.length
    if (bytes > limits.maxBodyBytes) throw bodyTooLarge(limits.maxBodyBytes)
    if (bufferedBytes + piece.length > limits.maxBufferedBytes) {
      const text = `the bodies of the requests in progress fill the ${mebibytes(limits.maxBufferedBytes)} that --max-buffered-mib allows; try again`
      throw new SchedulerError('BUFFERS_FULL', text)
    }
    this.#heldBytes += piece.length
    this.#shared.bufferedBytes += piece.length
    this.#pieces = undefined
    if (this.#bytes === 0 && mayKeep) this.#room = piece
    else this.#append(piece, bytes)
    this.#bytes = bytes
  }

  /** Forgets the bytes; what they take stays counted until `release`. */
  drop(): void {
    this.#pieces = undefined
    this.#room = NOTHING
    this.#ownsRoom = false
    this.#bytes = 0
  }

  /** Takes the body off the shared sum: it has been written out, or dropped. */
  release(): void {
    this.#shared.bufferedBytes -= this.#heldBytes
    this.#heldBytes = 0
  }

  #append(piece: Uint8Array, bytes: number): void {
    if (!this.#ownsRoom || bytes > this.#room.length) {
      const doubled = this.#ownsRoom ? 2 * this.#room.length : 0
      const room = Buffer.allocUnsafe(Math.max(bytes, this.#expectedBytes, doubled))
      room.set(this.#room.subarray(0, this.#bytes))
      this.#room = room
      this.#ownsRoom = true
    }
    this.#room.set(piece, this.#bytes)
  }
}

export function bodyTooLarge(maxBodyBytes: number): SchedulerError {
  const text = `the request's body is larger than the ${mebibytes(maxBodyBytes)} that --max-body-mib allows; send a shorter one`
  return new SchedulerError('BODY_TOO_LARGE', text)
}

function mebibytes(bytes: number): string {
  return `${bytes / (1024 * 1024)} MiB`
}
