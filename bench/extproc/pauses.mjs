// Preloaded into a picker: for how long its event loop is held up between two SIGUSR2. After each such time but the first, in
// which code is still being compiled, what all of them together say is written to $BENCH_WATCH as JSON. `delay` is the time
// between two looks at a clock, as perf_hooks.monitorEventLoopDelay has it; `own` leaves out that in which the thread could have
// run but the system ran others, which on a busy machine is most of it.
import { openSync, readSync, writeFileSync } from 'node:fs'
import { createHistogram } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

const RESOLUTION_MS = 1
const NS_PER_MS = 1e6

/** Time for which this thread waited for a processor so far, in nanoseconds (Documentation/scheduler/sched-stats.rst). */
function waitedNs(file, buffer) {
  const length = readSync(file, buffer, 0, buffer.length, 0)
  return Number(buffer.latin1Slice(0, length).split(' ')[1])
}

const shown = (histogram) => ({
  looks: histogram.count,
  p50ms: histogram.percentile(50) / NS_PER_MS,
  p99ms: histogram.percentile(99) / NS_PER_MS,
  p999ms: histogram.percentile(99.9) / NS_PER_MS,
  maxMs: histogram.max / NS_PER_MS,
})

function watch() {
  const file = openSync('/proc/self/schedstat')
  const buffer = Buffer.alloc(100)
  const delay = createHistogram()
  const own = createHistogram()
  let lastNs = 0
  let lastWaitedNs = 0
  let timer
  let times = 0
  const look = () => {
    const nowNs = performance.now() * NS_PER_MS
    const nowWaitedNs = waitedNs(file, buffer)
    if (lastNs > 0) {
      const delayNs = nowNs - lastNs
      delay.record(Math.max(1, Math.round(delayNs)))
      own.record(Math.max(1, Math.round(delayNs - (nowWaitedNs - lastWaitedNs))))
    }
    lastNs = nowNs
    lastWaitedNs = nowWaitedNs
  }
  const begin = () => {
    lastNs = 0
    timer = setInterval(look, RESOLUTION_MS)
  }
  const end = () => {
    look()
    clearInterval(timer)
    timer = undefined
    if (++times > 1) {
      const found = { delay: shown(delay), own: shown(own) }
      writeFileSync(process.env.BENCH_WATCH, JSON.stringify(found))
    } else {
      delay.reset()
      own.reset()
    }
  }
  process.on('SIGUSR2', () => (timer === undefined ? begin() : end()))
}

if (isMainThread) watch()
