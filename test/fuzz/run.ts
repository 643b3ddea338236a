import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { targets } from './targets.ts'

const HELP = `Makes up input from outside for as long as it is told, and stops at what breaks a rule.

  npm run fuzz                           every kind, a minute each
  npm run fuzz -- bodies --seconds 600   one kind
  npm run fuzz -- bodies --seed 42       the same inputs again

Kinds: ${targets.map(({ name }) => name).join(', ')}
`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const chosen = targets.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
if (values.help || chosen.length === 0) {
  console.log(HELP)
  process.exit(values.help ? 0 : 1)
}
for (const { name, inputs, check } of chosen) {
  const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
  let runs = 0
  const property = fc.asyncProperty(inputs, async (input) => {
    runs++
    await check(input as never)
  })
  const result = await fc.check(property, {
    seed,
    numRuns: Number.MAX_SAFE_INTEGER,
    interruptAfterTimeLimit: 1000 * Number(values.seconds),
    markInterruptAsFailure: false,
  })
  console.log(`${name}: ${runs} inputs, seed ${seed}${result.failed ? ', FAILED' : ''}`)
  if (!result.failed) continue
  console.log(fc.defaultReportMessage(result))
  process.exitCode = 1
}
