import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { parseConfig } from '../../src/config/parse.ts'
import { SchedulerError } from '../../src/framework/errors.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { assertPrototypeClean, type FuzzTarget, JSON_VALUES, KEYS, nearly } from './target.ts'

const FOLDER = 'test/fixtures/configs'
const SAMPLES = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => readFileSync(`${FOLDER}/${name}`))
const MAX_MS = 2000
const TYPES = builtinPlugins.map(({ type }) => type)

const PLUGIN = fc.record(
  {
    type: fc.constantFrom(...TYPES),
    name: fc.string({ maxLength: 3 }),
    parameters: fc.dictionary(KEYS, JSON_VALUES, { maxKeys: 3 }),
    weight: fc.oneof(fc.double(), JSON_VALUES),
  },
  { requiredKeys: ['type'] },
)

/** A configuration is taken or refused with places and words, soon. */
export const configurations: FuzzTarget = {
  name: 'configurations',
  inputs: fc.oneof(
    nearly(SAMPLES).map((bytes) => bytes.toString()),
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc
      .record(
        {
          plugins: fc.oneof(fc.array(PLUGIN, { maxLength: 4 }), JSON_VALUES),
          schedulingProfiles: fc.array(
            fc.record({ name: fc.string({ maxLength: 2 }), plugins: fc.array(PLUGIN) }),
            { maxLength: 2 },
          ),
          dataLayer: JSON_VALUES,
          tokenizers: JSON_VALUES,
        },
        { requiredKeys: ['plugins'] },
      )
      .map((file) => JSON.stringify(file)),
  ),
  check(text: string) {
    const startMs = performance.now()
    try {
      parseConfig(text, 'file.yaml', builtinPlugins)
    } catch (error) {
      assert.ok(error instanceof SchedulerError, `threw ${error instanceof Error && error.stack}`)
      assert.equal(error.code, 'CONFIG_INVALID')
      assert.match(error.message, /file\.yaml:\d+:\d+ /)
    }
    assertPrototypeClean()
    const ms = performance.now() - startMs
    assert.ok(ms < MAX_MS, `took ${ms} ms`)
  },
}
