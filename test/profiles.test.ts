import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { defaultParams, parseConfig } from '../src/config/parse.ts'
import { builtinPlugins } from '../src/plugins/index.ts'
import { costScorer } from '../src/plugins/scorers/cost-scorer.ts'

const FOLDER = 'config/profiles/'
const read = (name: string) => readFileSync(FOLDER + name, 'utf8')
/** Comments that are YAML: a field, an item, or what is indented below one. Modules would have to be there. */
const COMMENTED_OUT = /^( *)# (?!modules|yaml-)( {2}.*|- .*|\w+:( .*)?)$/gm

/** Types and params of the plugins of a text, which must be valid without a warning. */
function pluginsOf(text: string): ReadonlyMap<string, unknown> {
  const { spec, warnings } = parseConfig(text, 'a profile', builtinPlugins)
  assert.deepEqual(warnings, [])
  return new Map(spec.plugins.map(({ plugin, params }) => [plugin.type, params]))
}

/** The only profile's scorers with their weights, and its picker. */
function profileOf(name: string) {
  const { spec, warnings } = parseConfig(read(name), FOLDER + name, builtinPlugins)
  assert.deepEqual(warnings, [])
  const [profile, ...others] = spec.profiles
  assert.equal(others.length, 0)
  const { filters, scorers, picker } = profile!
  return { filters, scorers: scorers.map(({ name, weight }) => [name, weight]), picker }
}

describe('config/profiles', () => {
  for (const [name, scorers] of [
    ['cost.yaml', [['cost-scorer', 1]]],
    ['default.yaml', [['cost-scorer', 1]]],
    [
      'llm-d.yaml',
      [
        ['precise-prefix-cache-scorer', 3],
        ['queue-scorer', 2],
        ['kv-cache-utilization-scorer', 2],
      ],
    ],
    [
      'weights.yaml',
      [
        ['precise-prefix-cache-scorer', 3],
        ['queue-scorer', 2],
        ['kv-cache-utilization-scorer', 2],
        ['active-request-scorer', 4],
      ],
    ],
  ] as const) {
    it(`${name} is what it says, without a warning`, () => {
      assert.deepEqual(profileOf(name), { filters: [], scorers, picker: 'max-score-picker' })
    })
  }

  it('has no other profile, and each says how it is used', () => {
    const names = readdirSync(FOLDER).sort()
    assert.deepEqual(names, ['cost.yaml', 'default.yaml', 'llm-d.yaml', 'weights.yaml'])
    for (const name of names) {
      if (name !== 'default.yaml') assert.ok(read(name).includes(`--config-file ${FOLDER}${name}`))
    }
  })

  it('holds the shipped default as it is', () => {
    const shipped = readFileSync('config/scheduler-profiles.yaml', 'utf8')
    assert.equal(read('default.yaml'), shipped.replace('=../schemas/', '=../../schemas/'))
  })

  it('holds it without explanations as cost.yaml', () => {
    assert.deepEqual(pluginsOf(read('cost.yaml')), pluginsOf(read('default.yaml')))
  })

  it('shows in comments what is valid, and parameters as they are when left out', () => {
    const plugins = pluginsOf(read('default.yaml').replace(COMMENTED_OUT, '$1$2'))
    assert.deepEqual(plugins.get('cost-scorer'), defaultParams(costScorer))
    assert.ok(plugins.has('precise-prefix-cache-producer'))
  })
})
