import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { PassThrough, pipeline, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { SchedulerError } from '../framework/errors.ts'

/** A line holds a configuration's text at most. */
const MAX_LINE_CHARACTERS = 16 * 1024 * 1024

/** One line of a file. */
export interface FileLine {
  /** From 1. */
  readonly line: number
  readonly text: string
}

/** How far a file has been read. */
export interface ReadProgress {
  /** Bytes of the file as it lies on the disk. */
  bytes: number
  totalBytes: number
  /** Why the file ends before it should; undefined when it does not. */
  cut: string | undefined
}

/**
 * The whole lines of a file, compressed or not. A file that breaks off, as after a crash, gives what is whole, and
 * `progress.cut` says where it ends.
 *
 * @throws {SchedulerError} START_FAILED when it cannot be read, BAD_REQUEST for a line that is too long
 */
export async function* readLines(file: string, progress: ReadProgress): AsyncGenerator<FileLine> {
  let line = 0
  let rest = ''
  try {
    const stream = await opened(file, progress)
    stream.setEncoding('utf8')
    for await (const chunk of stream as AsyncIterable<string>) {
      const pieces = (rest + chunk).split('\n')
      rest = pieces.pop()!
      if (rest.length > MAX_LINE_CHARACTERS) {
        throw new SchedulerError(
          'BAD_REQUEST',
          `${file}:${line + pieces.length + 1}: a line of more than ${MAX_LINE_CHARACTERS} characters; this is no recording`,
        )
      }
      for (const text of pieces) yield { line: ++line, text }
    }
  } catch (cause) {
    if (cause instanceof SchedulerError) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    // zlib's codes; what was whole has been given.
    if (code === 'Z_BUF_ERROR' || code === 'Z_DATA_ERROR') {
      progress.cut = `the compressed data breaks off after line ${line} (${message})`
      return
    }
    throw new SchedulerError('START_FAILED', `${file} cannot be read: ${code ?? message}`, {
      cause,
    })
  }
  if (rest !== '') progress.cut = `line ${line + 1} breaks off`
}

/** The file's text as a stream of bytes. */
async function opened(file: string, progress: ReadProgress): Promise<Readable> {
  const handle = await open(file)
  let isCompressed: boolean
  try {
    const start = Buffer.alloc(2)
    await handle.read(start, 0, 2, 0)
    isCompressed = start[0] === 0x1f && start[1] === 0x8b
    progress.totalBytes = (await handle.stat()).size
  } finally {
    await handle.close()
  }
  const bytes = createReadStream(file)
  bytes.on('data', (chunk) => {
    progress.bytes += chunk.length
  })
  // An error of either comes out of the last.
  return pipeline(bytes, isCompressed ? createGunzip() : new PassThrough(), () => {})
}
