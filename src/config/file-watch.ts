import { type FSWatcher, watch } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Told of what becomes of a watched file. */
export interface FileListener {
  /** The file's text is another than the last that was seen. */
  changed(text: string): void
  /** The file cannot be read any more, or is too large; called once until it can be read again. */
  lost(reason: string): void
}

export interface FileWatchOptions {
  /** The text that the caller has read already, so that it is not reported as a change. */
  readonly initial?: string
  /** Quiet time after an event before the file is read. */
  readonly debounceMs?: number
  /** How often the file is read without any event: some file systems tell nothing. */
  readonly pollMs?: number
  /** A larger file is not read. */
  readonly maxBytes?: number
}

/**
 * Follows the content of one file, through edits in place, atomic replacement, and the symlink swaps of a mounted
 * Kubernetes ConfigMap (there the file is a link into `..data`, itself a link that is replaced).
 *
 * The folders are watched, never the file: a watch on a file follows the old inode when it is replaced.
 */
export class FileWatch {
  readonly #path: string
  readonly #listener: FileListener
  readonly #debounceMs: number
  readonly #maxBytes: number
  readonly #poll: NodeJS.Timeout
  readonly #watchers = new Map<string, FSWatcher>()
  #debounce: NodeJS.Timeout | undefined
  #last: string | undefined
  #lost = false
  #reading = false
  #again = false
  #closed = false

  constructor(path: string, listener: FileListener, options: FileWatchOptions = {}) {
    this.#path = path
    this.#listener = listener
    this.#last = options.initial
    this.#debounceMs = options.debounceMs ?? 50
    this.#maxBytes = options.maxBytes ?? 1024 * 1024
    this.#poll = setInterval(() => this.#read(), options.pollMs ?? 2000)
    this.#poll.unref()
    this.#read()
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#poll)
    clearTimeout(this.#debounce)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  #read(): void {
    if (this.#reading) this.#again = true
    else void this.#readOnce()
  }

  async #readOnce(): Promise<void> {
    this.#reading = true
    let text: string | undefined
    let reason = ''
    await this.#watchFolders()
    try {
      text = await readText(this.#path, this.#maxBytes)
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error)
    }
    this.#reading = false
    if (this.#closed) return
    if (text === undefined) {
      // A watch may be on a folder that is gone: the next read watches what is there then.
      for (const watcher of this.#watchers.values()) watcher.close()
      this.#watchers.clear()
      if (!this.#lost) this.#listener.lost(reason)
      this.#lost = true
    } else {
      const changed = text !== this.#last || this.#lost
      this.#last = text
      this.#lost = false
      if (changed) this.#listener.changed(text)
    }
    if (this.#again) {
      this.#again = false
      this.#read()
    }
  }

  /** Watches the folder of the path and, when that is a link, the folder of the file that it leads to. */
  async #watchFolders(): Promise<void> {
    const wanted = new Set([dirname(this.#path)])
    try {
      wanted.add(dirname(await realpath(this.#path)))
    } catch {
      // The file is not there: the read that follows says so, and its folder tells when it comes.
    }
    if (this.#closed) return
    for (const [folder, watcher] of this.#watchers) {
      if (wanted.has(folder)) continue
      watcher.close()
      this.#watchers.delete(folder)
    }
    for (const folder of wanted) {
      if (!this.#watchers.has(folder)) this.#watchFolder(folder)
    }
  }

  #watchFolder(folder: string): void {
    const forget = () => {
      this.#watchers.get(folder)?.close()
      this.#watchers.delete(folder)
    }
    try {
      const watcher = watch(folder, { persistent: false }, () => {
        clearTimeout(this.#debounce)
        this.#debounce = setTimeout(() => this.#read(), this.#debounceMs)
        this.#debounce.unref()
      })
      watcher.on('error', forget)
      this.#watchers.set(folder, watcher)
    } catch {
      // No folder, or no watches left in the system: polling goes on, and the next read tries again.
      forget()
    }
  }
}

/**
 * The text of a file of limited size.
 * @throws when it cannot be read, is larger than `maxBytes`, or is not UTF-8
 */
export async function readText(path: string, maxBytes: number): Promise<string> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    if (size > maxBytes) {
      throw new Error(`${path} has ${size} bytes, more than the ${maxBytes} allowed`)
    }
    // The size of a pipe or a growing file says nothing: never read past the limit.
    const bytes = Buffer.allocUnsafe(maxBytes + 1)
    let length = 0
    while (length <= maxBytes) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, null)
      if (bytesRead === 0) break
      length += bytesRead
    }
    if (length > maxBytes) throw new Error(`${path} has more than the ${maxBytes} bytes allowed`)
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length))
  } finally {
    await file.close()
  }
}
