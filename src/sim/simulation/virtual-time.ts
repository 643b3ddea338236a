import type { Clock } from '../../framework/services.ts'
import type { StepTimers } from '../engine-core.ts'
import { EventQueue } from './event-queue.ts'

/** 2026-01-01: any moment would do, the same in all runs. */
const EPOCH_MS = 1_767_225_600_000
/** `setInterval` with less repeats after this long. */
const LEAST_INTERVAL_MS = 1
/** How often the machine gets its turn, in steps that have nothing to wait for. */
const STEPS_PER_TURN = 2000

/** Something that happens at a moment. */
interface Happening {
  readonly run: () => void
  /** Whether promises may have been made good by it, so that what waits for them runs before time goes on. */
  readonly mayResume: boolean
  cancelled: boolean
}

/** What the platform's timer functions give: enough of a `NodeJS.Timeout`. */
class VirtualTimer {
  happening: Happening | undefined
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }
  hasRef(): boolean {
    return false
  }
}

/** The machine's own, taken before anything can replace it. */
const nextTurn = setImmediate

/**
 * Time that passes from one thing to the next, at once. While it runs it stands in for the platform's timers and clocks
 * (`setTimeout`, `setInterval`, `setImmediate`, `performance.now`, `Date.now`), so that code that knows nothing of it lives
 * in it too; one at a time in a thread.
 */
export class VirtualTime implements Clock {
  readonly #queue = new EventQueue<Happening>()
  #nowMs = 0

  readonly nowMs = (): number => this.#nowMs

  readonly epochMs = (): number => EPOCH_MS + this.#nowMs

  /** For code of the simulation's own, which makes no promise good. */
  readonly timers: StepTimers = {
    after: (delayMs, run) => this.#add(delayMs, run, false),
    cancel: (timer) => {
      ;(timer as Happening).cancelled = true
    },
  }

  /** Calls `run` after so many milliseconds; what waits for a promise goes on before the time does. */
  after(delayMs: number, run: () => void): void {
    this.#add(delayMs, run, true)
  }

  /** A promise that is made good after so many milliseconds. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve))
  }

  /**
   * Lets time pass until `isOver`, or until nothing more can happen.
   *
   * @param prepare run first, with the platform's timers and clocks already replaced
   */
  async run(prepare: () => void, isOver: () => boolean): Promise<void> {
    const restore = this.#replacePlatform()
    try {
      prepare()
      await this.settle()
      let steps = 0
      while (!isOver()) {
        const atMs = this.#queue.nextMs
        const next = this.#queue.take()
        if (next === undefined) return
        if (next.cancelled) continue
        this.#nowMs = atMs
        next.run()
        if (next.mayResume || ++steps % STEPS_PER_TURN === 0) await this.settle()
      }
    } finally {
      restore()
    }
  }

  /** Lets everything go on that waits for a promise that has been made good. */
  settle(): Promise<void> {
    return new Promise((resolve) => nextTurn(resolve))
  }

  #add(delayMs: number, run: () => void, mayResume: boolean): Happening {
    const happening = { run, mayResume, cancelled: false }
    this.#queue.add(this.#nowMs + Math.max(0, delayMs), happening)
    return happening
  }

  /** Returns a function that puts everything back. */
  #replacePlatform(): () => void {
    const global = globalThis as unknown as Record<string, unknown>
    const start = (run: () => void, delayMs: number, isRepeated: boolean) => {
      const timer = new VirtualTimer()
      const fire = () => {
        if (isRepeated) timer.happening = this.#add(delayMs, fire, true)
        run()
      }
      timer.happening = this.#add(delayMs, fire, true)
      return timer
    }
    const stop = (timer: unknown) => {
      if (timer instanceof VirtualTimer && timer.happening) timer.happening.cancelled = true
    }
    type Callback = (...given: unknown[]) => void
    const replaced: Record<string, unknown> = {
      setTimeout: (run: Callback, delayMs = 0, ...given: unknown[]) =>
        start(() => run(...given), delayMs, false),
      setInterval: (run: Callback, delayMs = 0, ...given: unknown[]) =>
        start(() => run(...given), Math.max(LEAST_INTERVAL_MS, delayMs), true),
      setImmediate: (run: Callback, ...given: unknown[]) => start(() => run(...given), 0, false),
      clearTimeout: stop,
      clearInterval: stop,
      clearImmediate: stop,
    }
    const before = Object.fromEntries(Object.keys(replaced).map((name) => [name, global[name]]))
    const { now: dateNow } = Date
    Object.assign(global, replaced)
    Date.now = () => this.epochMs()
    performance.now = () => this.#nowMs
    return () => {
      Object.assign(global, before)
      Date.now = dateNow
      // The platform's own is its prototype's.
      Reflect.deleteProperty(performance, 'now')
    }
  }
}
