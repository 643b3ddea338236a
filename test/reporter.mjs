import { relative } from 'node:path'

import mocha from 'mocha'

const SLOWEST = 12

/**
 * The spec reporter, closed by lines that scripts can read: a table of the files that took longest, `again FILE` for each that
 * failed, `N passed, N failed`.
 */
export default class extends mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    const files = new Map()
    const failed = new Set()
    let since = performance.now()
    let cpu = process.cpuUsage()
    const spent = (file) => {
      const now = performance.now()
      const used = process.cpuUsage(cpu)
      const took = files.get(file) ?? { seconds: 0, cpu: 0 }
      took.seconds += (now - since) / 1000
      took.cpu += (used.user + used.system) / 1e6
      files.set(file, took)
      since = now
      cpu = process.cpuUsage()
    }
    // What a suite does after its last test counts for it; what it does before its first one too.
    runner.on('suite end', ({ file }) => file !== undefined && spent(file))
    runner.on('test end', ({ file }) => spent(file))
    runner.on('fail', ({ file }) => failed.add(file))
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats
      const slowest = [...files].sort(([, one], [, other]) => other.seconds - one.seconds)
      console.log('slowest files: seconds, of them CPU of the tests themselves')
      for (const [file, took] of slowest.slice(0, SLOWEST))
        console.log(
          `${took.seconds.toFixed(1).padStart(7)} ${took.cpu.toFixed(1).padStart(7)}  ${name(file)}`,
        )
      for (const file of failed) console.log(`again ${name(file)}`)
      console.log(`${passes} passed, ${failures} failed${pending ? `, ${pending} skipped` : ''}`)
    })
  }
}

const name = (file) => relative('.', file)
