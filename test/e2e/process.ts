import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** One line of the picker's or an engine's JSON log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string }

/** A child process whose output is collected, line by line. */
export class Process {
  readonly lines: LogLine[] = []
  readonly #child: ChildProcess
  readonly #name: string
  readonly #waiting = new Set<() => void>()
  #stderr = ''
  #exit: number | undefined

  constructor(
    name: string,
    command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    cwd?: string,
  ) {
    this.#name = name
    const where = cwd === undefined ? {} : { cwd }
    this.#child = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'pipe', ...where })
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      this.lines.push(line.startsWith('{') ? (JSON.parse(line) as LogLine) : { msg: line })
      this.#wake()
    })
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr = `${this.#stderr}${chunk}`.slice(-20_000)
    })
    this.#child.once('exit', (code, signal) => {
      this.#exit = code ?? (signal === null ? -1 : -2)
      this.#wake()
    })
  }

  get stderr(): string {
    return this.#stderr
  }

  get exitCode(): number | undefined {
    return this.#exit
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Lines with that message. */
  logged(message: string): readonly LogLine[] {
    return this.lines.filter(({ msg }) => msg === message)
  }

  /** The first line that fits, now or within `timeoutMs`. */
  async line(fits: (line: LogLine) => boolean, what: string, timeoutMs = 60_000): Promise<LogLine> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const found = this.lines.find(fits)
      if (found) return found
      if (this.#exit !== undefined || Date.now() > deadline) {
        throw new Error(
          `${this.#name}: no ${what}; exit code ${this.#exit ?? 'none'}\n${this.#stderr}\n` +
            this.lines
              .slice(-20)
              .map((line) => JSON.stringify(line))
              .join('\n'),
        )
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, Math.max(0, deadline - Date.now()))
        const waiting = this.#waiting
        function done() {
          clearTimeout(timer)
          waiting.delete(done)
          resolve()
        }
        waiting.add(done)
      })
    }
  }

  /** Ends the process and waits until it is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (this.#exit === undefined) {
      const gone = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()))
      this.#child.kill(signal)
      const hard = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
      await gone
      clearTimeout(hard)
    }
    return this.#exit!
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }
}

/** Asks `check` until it answers, or fails after `timeoutMs` with what it said last. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined> | T | undefined,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  let last: unknown
  for (;;) {
    try {
      const value = await check()
      if (value !== undefined && value !== false) return value
    } catch (error) {
      last = error
    }
    if (Date.now() > deadline) throw new Error(`${what} did not happen`, { cause: last })
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
