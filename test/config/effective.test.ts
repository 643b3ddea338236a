import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { commentedText } from '../../src/config/commented-yaml.ts'
import { readDocument } from '../../src/config/document.ts'
import { effectiveConfig } from '../../src/config/effective.ts'
import { type CheckedConfig, parseConfig } from '../../src/config/parse.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { plugins } from './plugins.ts'

const FOLDER = 'test/fixtures/configs'
const read = (text: string) => parseConfig(text, 'p.yaml', plugins)

/** What `epp check --effective` prints of a file's text. */
function effective(text: string): string {
  const { place } = readDocument(text)
  const at = (path: readonly (string | number)[]) => `p.yaml:${place(path, 'value').line}`
  return commentedText(effectiveConfig(read(text), at, builtinPlugins))
}

/** What a configuration says, in no order of its plugins, with the producers that are built besides. */
const sayings = ({ spec, tokenizers, modules, metricsCompat }: CheckedConfig) => ({
  ...{ tokenizers, modules, metricsCompat, profiles: spec.profiles, handler: spec.handler },
  plugins: spec.plugins
    .filter(({ plugin }) => plugin.kind !== 'producer')
    .map(({ plugin, ...said }) => ({ ...said, type: plugin.type }))
    .sort((a, b) => (a.name < b.name ? -1 : 1)),
})
const withoutComments = (text: string) => text.replaceAll(/ *# .*$/gm, '')

/** The text under test as lines whose comments stand one below the other. */
const lines = (...texts: readonly string[]) => `${texts.join('\n')}\n`

describe('effectiveConfig', () => {
  const texts = ['config/scheduler-profiles.yaml', 'config/profiles/cost.yaml']
    .concat(readdirSync(FOLDER).map((name) => `${FOLDER}/${name}`))
    .filter((file) => /\.(yaml|json)$/.test(file))
    .map((file) => ({ file, text: readFileSync(file, 'utf8') }))
    // What does not load is not in force.
    .filter(({ text }) => isValid(text))

  it('is tried on the files of the field', () => assert.ok(texts.length >= 15, `${texts.length}`))

  for (const { file, text } of texts) {
    it(`of ${file} is read as the same configuration`, () => {
      const shown = effective(text)
      const config = read(text)
      const again = read(shown)
      assert.deepEqual(sayings(again), sayings(config))
      // Lines are others.
      const said = ({ warnings }: CheckedConfig) =>
        warnings.map(({ message }) => message.replace(/\(line \d+\)/, ''))
      assert.deepEqual(
        said(again).filter((message) => !said(config).includes(message)),
        [],
        'no new warnings',
      )
      assert.equal(withoutComments(effective(shown)), withoutComments(shown))
    })

    it(`of ${file} says of every value where it is from`, () => {
      for (const line of effective(text).split('\n').slice(2)) {
        if (line === '' || /^\s*(- )?[\w.-]+:$/.test(line)) continue
        assert.match(line, / {2}# (default|stands in|(alias of \S+, )?p\.yaml:\d+)$/)
      }
    })
  }

  it('names line, default, older name and what stands in', () => {
    assert.equal(
      effective(
        lines(
          'tokenizers: { q: qwen }',
          'plugins:',
          '  - type: queue-depth-scorer',
          '  - name: busy',
          '    type: active-request-scorer',
          '    onError: skip',
          '    parameters: { idleThreshold: 7 }',
          '  - { type: cost-scorer, parameters: { kvRent: 2 } }',
          'schedulingProfiles:',
          '  - name: main',
          '    plugins:',
          '      - pluginRef: busy',
          '        weight: 3',
          '      - pluginRef: queue-depth-scorer',
        ),
      ),
      lines(
        'apiVersion: inference.networking.x-k8s.io/v1alpha1',
        'kind: EndpointPickerConfig',
        'plugins:',
        '  - name: queue-depth-scorer      # p.yaml:3',
        '    type: queue-scorer            # alias of queue-depth-scorer, p.yaml:3',
        '  - name: busy                    # p.yaml:4',
        '    type: active-request-scorer   # p.yaml:5',
        '    parameters:',
        '      idleThreshold: 7            # p.yaml:7',
        '      maxBusyScore: 1             # default',
        '    onError: skip                 # p.yaml:6',
        '  - type: max-score-picker        # stands in',
        '    parameters:',
        '      maxNumOfEndpoints: 1        # default',
        '  - type: single-profile-handler  # stands in',
        'schedulingProfiles:',
        '  - name: main                         # p.yaml:10',
        '    plugins:',
        '      - pluginRef: busy                # p.yaml:12',
        '        weight: 3                      # p.yaml:13',
        '      - pluginRef: queue-depth-scorer  # p.yaml:14',
        '        weight: 1                      # default',
        '      - pluginRef: max-score-picker    # stands in',
        'tokenizers:',
        '  q: qwen  # p.yaml:1',
      ),
    )
  })

  it('follows parameters to where they are written, through anchors, modes and lists', () => {
    const text = lines(
      'schedulingProfiles:',
      '  - name: a',
      '    plugins:',
      '      - type: prefix-cache-scorer',
      '        parameters:',
      '          mode: cache_tracking',
      '          tokenProcessorConfig:',
      '            blockSize: 64',
      '      - type: session-affinity-scorer',
      '        parameters:',
      '          strategy: session_id',
      '          sessionIdConfig:',
      '            sources:',
      '              - header: x-one',
      '              - header: x-two',
    )
    const shown = effective(text)
    for (const part of [
      'type: precise-prefix-cache-scorer +# alias of prefix-cache-scorer, p.yaml:4',
      'blockSize: 64 +# p.yaml:8',
      'speculativeIndexing: true +# default',
      'strategy: session_id +# p.yaml:11',
      '- header: x-one +# p.yaml:14',
      '- header: x-two +# p.yaml:15',
      'evictionTtlSeconds: 300 +# default',
      'type: token-producer +# stands in',
    ]) {
      assert.match(shown, new RegExp(`^ +(- )?${part}$`, 'm'))
    }
  })

  it('says default of the profile that a file without profiles has', () => {
    const shown = effective('plugins: [{ type: queue-scorer }]')
    assert.match(shown, /^ {2}- name: default +# default$/m)
    assert.match(shown, /^ {6}- pluginRef: queue-scorer +# p\.yaml:1\n {8}weight: 1 +# default$/m)
  })

  it('keeps comments apart from values that look like one or take several lines', () => {
    const long = `x-${'y'.repeat(70)}`
    const text = lines(
      'plugins:',
      '  - type: label-selector-filter',
      '    parameters:',
      '      matchLabels:',
      '        hash: "a # b"',
      '        more: |-',
      '          one # two',
      '          three',
      `        ${long}: ""`,
      '  - type: queue-scorer',
    )
    const shown = effective(text)
    assert.deepEqual(sayings(read(shown)), sayings(read(text)))
    assert.match(shown, /^ +hash: "a # b" {2,}# p\.yaml:5$/m)
    assert.match(shown, /^ +more: \|- {2,}# p\.yaml:6\n +one # two\n +three\n/m)
    assert.ok(shown.includes(`        ${long}: ""  # p.yaml:9\n`), shown)
  })

  it('paints comments alone', () => {
    const painted = commentedText([{ text: 'a: 1', comment: 'default' }], (text) => `<${text}>`)
    assert.equal(painted, 'a: 1  <# default>\n')
  })
})

function isValid(text: string): boolean {
  try {
    read(text)
    return true
  } catch {
    return false
  }
}
