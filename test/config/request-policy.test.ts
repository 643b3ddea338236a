import assert from 'node:assert/strict'
import { effectiveConfig } from '../../src/config/effective.ts'
import { parseConfig } from '../../src/config/parse.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

const PROFILE = 'schedulingProfiles: [{ name: default, plugins: [{ type: queue-scorer }] }]\n'
const parse = (text: string) => parseConfig(`${PROFILE}${text}`, 'f.yaml', builtinPlugins)

describe('what a file says of requests', () => {
  for (const [text, expected] of [
    ['', {}],
    ['responses: full', { responses: 'full' }],
    ['responses: auto', { responses: 'auto' }],
    ['responses: sampled=20', { responses: { sampled: 20 } }],
    ['saltHeader: X-Tenant-Salt', { saltHeader: 'x-tenant-salt' }],
    ['dataParallel: header\ndataParallelSize: 4', { dataParallel: 'header', dataParallelSize: 4 }],
  ] as const) {
    it(`is taken: ${text || 'nothing'}`, () => {
      const config = parse(text)
      assert.deepEqual(config.spec.requests, expected)
      assert.deepEqual(config.warnings, [])
      const lines = effectiveConfig(config, (path) => path.join('.'), builtinPlugins)
      const again = parseConfig(lines.map((line) => line.text).join('\n'), 'f.yaml', builtinPlugins)
      assert.deepEqual(again.spec.requests, expected)
    })
  }

  for (const [text, problem] of [
    ['responses: always', /^f\.yaml:2:12 {2}responses: must match .*sampled=.*, got "always"$/],
    ['responses: sampled=0', /^f\.yaml:2:12 {2}responses: must match/],
    ['responses: true', /^f\.yaml:2:12 {2}responses: must be a string/],
    ["saltHeader: ''", /^f\.yaml:2:13 {2}saltHeader: must match/],
    ['saltHeader: "x salt"', /^f\.yaml:2:13 {2}saltHeader: must match/],
    ['dataParallelSize: 1', /^f\.yaml:2:19 {2}dataParallelSize: must be at least 2, got 1$/m],
    ['dataParallelSize: 257', /dataParallelSize: must be at most 256, got 257$/m],
    ['dataParallelSize: 2.5', /dataParallelSize: must be an integer, got 2.5$/m],
    ['dataParallel: ranks', /^f\.yaml:2:15 {2}dataParallel: must be "header"/],
  ] as const) {
    it(`is refused: ${text}`, () => {
      assert.throws(() => parse(text), { code: 'CONFIG_INVALID', message: problem })
    })
  }

  for (const [text, field, advice] of [
    [
      'dataParallel: header',
      'dataParallel',
      /without dataParallelSize: .* write dataParallelSize: N/,
    ],
    ['dataParallelSize: 3', 'dataParallelSize', /without dataParallel; write dataParallel: header/],
  ] as const) {
    it(`is said to have no effect: ${text}`, () => {
      const { warnings } = parse(text)
      assert.deepEqual(
        warnings.map(({ path }) => path),
        [field],
      )
      assert.match(warnings[0]!.message, advice)
    })
  }
})
