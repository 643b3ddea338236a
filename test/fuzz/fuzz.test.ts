import fc from 'fast-check'
import { targets } from './targets.ts'

const RUNS = 300
const SEED = 20261121

describe('input from outside that is made up', () => {
  for (const { name, inputs, check } of targets) {
    it(`breaks no rule: ${RUNS} ${name}`, async function () {
      this.timeout(60_000)
      await fc.assert(
        fc.asyncProperty(inputs, async (input) => check(input as never)),
        { numRuns: RUNS, seed: SEED },
      )
    })
  }
})
