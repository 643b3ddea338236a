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
    ['dataParallel: header', { dataParallel: 'header' }],
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
    ['dataParallel: ranks', /^f\.yaml:2:15 {2}dataParallel: must be "header"/],
  ] as const) {
    it(`is refused: ${text}`, () => {
      assert.throws(() => parse(text), { code: 'CONFIG_INVALID', message: problem })
    })
  }
})
