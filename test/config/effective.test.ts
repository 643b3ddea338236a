import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { effectiveConfig } from '../../src/config/effective.ts'
import { type CheckedConfig, parseConfig } from '../../src/config/parse.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

const read = (text: string) => parseConfig(text, 'x.yaml', builtinPlugins)
/** What a configuration says, in no order of its plugins. */
const sayings = ({ spec, tokenizers, metricsCompat }: CheckedConfig) => ({
  ...{ tokenizers, metricsCompat, profiles: spec.profiles, handler: spec.handler },
  plugins: spec.plugins
    .map(({ name, plugin, params }) => ({ name, type: plugin.type, params }))
    .sort((a, b) => (a.name < b.name ? -1 : 1)),
})

describe('effectiveConfig', () => {
  const files = [
    'config/scheduler-profiles.yaml',
    ...readdirSync('test/fixtures/configs')
      .filter((name) => /\.(yaml|json)$/.test(name))
      .map((name) => `test/fixtures/configs/${name}`),
  ]
  for (const file of files) {
    it(`of ${file} is read as the same configuration, without warnings`, () => {
      const config = read(readFileSync(file, 'utf8'))
      const again = read(effectiveConfig(config))
      assert.deepEqual(again.warnings, [])
      assert.deepEqual(sayings(again), sayings(config))
    })
  }

  it('shows what was left out', () => {
    const text = effectiveConfig(read('plugins: [{ type: queue-scorer }]'))
    assert.match(text, /- type: max-score-picker\n {4}parameters:\n {6}maxNumOfEndpoints: 1\n/)
    assert.match(text, /- pluginRef: queue-scorer\n {8}weight: 1\n/)
    assert.match(text, /- type: single-profile-handler\n/)
  })
})
