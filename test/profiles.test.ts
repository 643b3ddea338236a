import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { parseConfig } from '../src/config/parse.ts'
import { builtinPlugins } from '../src/plugins/index.ts'

const FOLDER = 'config/profiles/'
const read = (name: string) => readFileSync(FOLDER + name, 'utf8')

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
    [
      'llm-d.yaml',
      [
        ['precise-prefix-cache-scorer', 3],
        ['queue-scorer', 2],
        ['kv-cache-utilization-scorer', 2],
      ],
    ],
    [
      'default.yaml',
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
    assert.deepEqual(names, ['cost.yaml', 'default.yaml', 'llm-d.yaml'])
    for (const name of names) {
      if (name !== 'default.yaml') assert.ok(read(name).includes(`--config-file ${FOLDER}${name}`))
    }
  })

  it('holds the shipped default as it is', () => {
    const shipped = readFileSync('config/scheduler-profiles.yaml', 'utf8')
    assert.equal(read('default.yaml'), shipped.replace('=../schemas/', '=../../schemas/'))
  })
})
