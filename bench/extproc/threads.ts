import { readdirSync, readFileSync } from 'node:fs'

/** The name that tokenizing threads give themselves (src/tokenize/encode-worker.ts). */
const TOKENIZING = 'epp-encode'

/** Tells how much of a process's CPU its tokenizing threads took, from one call to the next. */
export class TokenizingShare {
  readonly #pid: number
  #last: ReadonlyMap<string, Thread>

  /** From now on. */
  constructor(pid: number) {
    this.#pid = pid
    this.#last = threadsOf(pid)
  }

  /** Between 0 and 1. Threads that have ended since the last call are left out. */
  next(): number {
    const now = threadsOf(this.#pid)
    let tokenizing = 0
    let all = 0
    for (const [id, { name, ticks }] of now) {
      const spent = ticks - (this.#last.get(id)?.ticks ?? 0)
      all += spent
      if (name === TOKENIZING) tokenizing += spent
    }
    this.#last = now
    return all === 0 ? 0 : tokenizing / all
  }
}

interface Thread {
  readonly name: string
  /** Of CPU, in user and system mode. */
  readonly ticks: number
}

function threadsOf(pid: number): ReadonlyMap<string, Thread> {
  const threads = new Map<string, Thread>()
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    try {
      const [, name = '', rest = ''] =
        /^\d+ \((.*)\) (.*)/s.exec(readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8')) ?? []
      const fields = rest.split(' ')
      threads.set(id, { name, ticks: Number(fields[11]) + Number(fields[12]) })
    } catch (error) {
      // A thread that has just ended.
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
  }
  return threads
}
