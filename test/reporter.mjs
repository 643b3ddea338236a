import mocha from 'mocha'

/** The spec reporter, closed by one line that scripts can read: `N passed, N failed`. */
export default class extends mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats
      console.log(`${passes} passed, ${failures} failed${pending ? `, ${pending} skipped` : ''}`)
    })
  }
}
