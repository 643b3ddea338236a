import { type FileHandle, lstat, open, rename } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { SchedulerError } from '../framework/errors.ts'
import type { Clock, Counter, Logger, Metrics, Notices } from '../framework/services.ts'
import { FORMAT, RECORDING } from './format.ts'

const compress = promisify(gzip)

/** Text that waits to be written; what comes while there is more is dropped. */
const MAX_WAITING_CHARACTERS = 8 * 1024 * 1024
/** Text is written when there is so much of it, */
const BATCH_CHARACTERS = 64 * 1024
/** or after this long. */
const BATCH_MS = 250

export interface RecordFileServices {
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
}

export interface RecordFileOptions {
  /** Compressed where it ends in `.gz`. */
  readonly file: string
  /** Of the file and the one before it together. */
  readonly maxBytes: number
  /** Of the program. */
  readonly version: string
}

/**
 * The file of a recording, and the one before it (`FILE.1`): each can be read alone.
 *
 * Lines are taken at once and written later, in the order in which they came. What cannot be written, since the disk is slow
 * or full, is dropped and counted; picks never wait for it.
 */
export class RecordFile {
  readonly #options: RecordFileOptions
  readonly #services: RecordFileServices
  readonly #isCompressed: boolean
  readonly #recorded: Counter
  readonly #dropped: Counter
  readonly #bytes: Counter
  #handle: FileHandle | undefined
  #lines: string[] = []
  #waitingCharacters = 0
  /** Those of `#lines`. */
  #heldCharacters = 0
  /** Of the file that lines go to: written, or about to be. */
  #size = { bytes: 0 }
  #part = 0
  #writing: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #isBroken = false

  private constructor(options: RecordFileOptions, services: RecordFileServices) {
    this.#options = options
    this.#services = services
    this.#isCompressed = options.file.endsWith('.gz')
    const { metrics } = services
    this.#recorded = metrics.counter('epp_recorded_decisions_total', 'Decisions recorded.')
    this.#dropped = metrics.counter(
      'epp_recording_dropped_total',
      'Decisions that were not recorded, since the file could not be written in time, or at all.',
    )
    this.#bytes = metrics.counter('epp_recording_bytes_total', 'Bytes written to the recording.')
  }

  /**
   * Begins a new file; one that is there becomes `FILE.1`.
   *
   * @throws {SchedulerError} START_FAILED when it cannot be written
   */
  static async open(options: RecordFileOptions, services: RecordFileServices): Promise<RecordFile> {
    const file = new RecordFile(options, services)
    try {
      await file.#begin(file.#size)
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException
      throw new SchedulerError(
        'START_FAILED',
        `--record ${options.file} cannot be written: ${code ?? message}; name a file in a folder that is there and can be written to`,
        { cause },
      )
    }
    return file
  }

  /** Changes with each new file, which has to tell everything again. */
  get part(): number {
    return this.#part
  }

  /** False, and a decision is counted as dropped, while what came before is not written. */
  takes(): boolean {
    if (!this.#isBroken && this.#waitingCharacters < MAX_WAITING_CHARACTERS) return true
    this.#drop(this.#isBroken ? undefined : 'the disk is too slow')
    return false
  }

  /** A decision that was taken could not be put into words. */
  lose(reason: string): void {
    this.#drop(reason)
  }

  /** Adds lines that belong together; `decisions` of them are decisions. */
  add(lines: readonly string[], decisions: number): void {
    if (this.#isBroken) return
    for (const line of lines) {
      this.#lines.push(line)
      this.#heldCharacters += line.length + 1
      this.#waitingCharacters += line.length + 1
    }
    this.#recorded.inc(decisions)
    if (this.#size.bytes + this.#heldCharacters >= this.#options.maxBytes / 2) {
      this.#part++
      this.#flush(true)
    } else if (this.#heldCharacters >= BATCH_CHARACTERS) this.#flush(false)
    else this.#timer ??= setTimeout(() => this.#flush(false), BATCH_MS).unref()
  }

  /** Writes what waits, and closes the file. */
  async close(): Promise<void> {
    this.#flush(false)
    await this.#writing
    this.#isBroken = true
    await this.#handle?.close().catch((error: unknown) => this.#break(error))
    this.#handle = undefined
  }

  #flush(endsFile: boolean): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const lines = this.#lines
    if (lines.length === 0 && !endsFile) return
    this.#lines = []
    const text = lines.length === 0 ? '' : `${lines.join('\n')}\n`
    this.#heldCharacters = 0
    const size = this.#size
    size.bytes += text.length
    if (endsFile) this.#size = { bytes: 0 }
    const next = endsFile ? this.#size : undefined
    this.#writing = this.#writing.then(() => this.#write(text, size, next))
  }

  /** @param next of the file that is begun afterwards; undefined goes on with this one */
  async #write(
    text: string,
    size: { bytes: number },
    next: { bytes: number } | undefined,
  ): Promise<void> {
    try {
      if (this.#isBroken) return
      if (text !== '') {
        const bytes = await this.#put(text)
        size.bytes += bytes - text.length
      }
      if (next) await this.#begin(next)
    } catch (error) {
      this.#break(error)
    } finally {
      this.#waitingCharacters -= text.length
    }
  }

  /** @returns bytes written */
  async #put(text: string): Promise<number> {
    // Each batch is a gzip member of its own, whole on the disk when it is there at all.
    const plain = Buffer.from(text)
    const bytes = this.#isCompressed ? await compress(plain) : plain
    let written = 0
    while (written < bytes.length) {
      written += (await this.#handle!.write(bytes, written)).bytesWritten
    }
    this.#bytes.inc(bytes.length)
    return bytes.length
  }

  async #begin(size: { bytes: number }): Promise<void> {
    const { file, version } = this.#options
    await this.#handle?.close()
    this.#handle = undefined
    if (await isThere(file)) await rename(file, `${file}.1`)
    // A link in the place of the file is not followed: the name has just become free, or nothing was there.
    this.#handle = await open(file, 'wx', 0o600)
    const header = {
      ...{ recording: RECORDING, format: FORMAT, picker: version },
      at: this.#services.clock.epochMs(),
    }
    const bytes = await this.#put(`${JSON.stringify(header)}\n`)
    size.bytes += bytes
  }

  #break(error: unknown): void {
    this.#isBroken = true
    const { file } = this.#options
    const { code, message } = error as NodeJS.ErrnoException
    const text = `the recording ${file} has ended, since it cannot be written: ${code ?? message}; make room and restart`
    this.#services.logger.named('recording').error(text)
    this.#services.notices.set('recording', text)
  }

  #drop(reason: string | undefined): void {
    this.#dropped.inc()
    if (reason === undefined) return
    this.#services.logger
      .named('recording')
      .warnOnce(`dropped: ${reason}`, `Decisions are not recorded: ${reason}`, {
        file: this.#options.file,
      })
  }
}

/** @throws for something else than a file, which is not to be moved out of the way */
async function isThere(file: string): Promise<boolean> {
  try {
    if ((await lstat(file)).isFile()) return true
    throw new Error('it is there and no file')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
