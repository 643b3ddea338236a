import { SingleBar } from 'cli-progress'

/** Says how far many runs are. */
export interface Progress {
  /** One more is done. */
  step(): void
  stop(): void
}

/** Lines where nobody watches. */
const LINES = 10

/** A bar on a terminal, a line now and then elsewhere; on standard error, where it is in nobody's way. */
export function showProgress(total: number): Progress {
  if (process.stderr.isTTY) {
    const bar = new SingleBar({
      format: 'simulating {bar} {value} of {total}, {eta_formatted} left',
      stream: process.stderr,
      hideCursor: true,
      gracefulExit: true,
    })
    bar.start(total, 0)
    return { step: () => bar.increment(), stop: () => bar.stop() }
  }
  const every = Math.max(1, Math.ceil(total / LINES))
  let done = 0
  return {
    step() {
      done++
      if (done % every !== 0 && done !== total) return
      process.stderr.write(`simulated ${done} of ${total}\n`)
    },
    stop() {},
  }
}
