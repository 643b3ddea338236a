// Preloaded into a picker: a profile of its main thread's CPU between two SIGUSR2 goes to $BENCH_WATCH-N.cpuprofile, N from 0.
import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { isMainThread } from 'node:worker_threads'

const SAMPLING_INTERVAL_US = 200

if (isMainThread) {
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.setSamplingInterval', { interval: SAMPLING_INTERVAL_US })
  let signals = 0
  process.on('SIGUSR2', () => {
    if (signals++ % 2 === 0) session.post('Profiler.start')
    else {
      session.post('Profiler.stop', (error, { profile }) => {
        if (error) throw error
        const file = `${process.env.BENCH_WATCH}-${signals / 2 - 1}.cpuprofile`
        writeFileSync(file, JSON.stringify(profile))
      })
    }
  })
}
