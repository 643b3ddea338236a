import { readFileSync } from 'node:fs'

/** Measures turns of the event loop until it is stopped. */
export class TurnWatch {
  #worstMs = 0
  #turns = 0
  #last = mainThreadCpuMs()
  #on = true

  constructor() {
    this.#turn()
  }

  /** CPU time of the longest turn, and how many there were. */
  stop(): { readonly worstMs: number; readonly turns: number } {
    this.#on = false
    return { worstMs: this.#worstMs, turns: this.#turns }
  }

  readonly #turn = (): void => {
    const now = mainThreadCpuMs()
    this.#worstMs = Math.max(this.#worstMs, now - this.#last)
    this.#last = now
    this.#turns++
    if (this.#on) setImmediate(this.#turn)
  }
}

/** CPU time of this thread; other threads' too where the system does not tell them apart. */
function mainThreadCpuMs(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]) / 1e6
  } catch {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  }
}
