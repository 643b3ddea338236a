import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { type CheckedConfig, parseConfig } from '../../src/config/parse.ts'
import { problemLine } from '../../src/config/problem.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { FIELD_CONFIGS } from './field-configs.ts'
import { Fleet } from './fleet.ts'

const FOLDER = 'test/fixtures/configs'
const read = (file: string): CheckedConfig =>
  parseConfig(readFileSync(`${FOLDER}/${file}`, 'utf8'), file, builtinPlugins)

describe('files of the field', () => {
  const files = readdirSync(FOLDER).filter((name) => !name.startsWith('README'))

  it('are all in the table, with every plugin type', () => {
    assert.deepEqual(FIELD_CONFIGS.map(({ file }) => file).sort(), files.sort())
    const used = new Set(
      files.flatMap((file) => read(file).spec.plugins.map(({ plugin }) => plugin.type)),
    )
    assert.deepEqual(
      builtinPlugins.map(({ type }) => type).filter((type) => !used.has(type)),
      [],
    )
  })

  for (const file of files.filter((name) => name.endsWith('.yaml'))) {
    it(`${file} says in its first line what it prefers`, () => {
      const [first] = readFileSync(`${FOLDER}/${file}`, 'utf8').split('\n')
      assert.match(first!, /^# (Prefers|Picks|Keeps|Among|Sends) .{10,}\.$/)
    })
  }

  for (const { file, warnings, shows } of FIELD_CONFIGS) {
    it(`${file} loads with these warnings and no others`, () => {
      assert.deepEqual(
        read(file).warnings.map((problem) => problemLine(problem).slice(file.length + 1)),
        warnings,
      )
    })
    for (const { what, endpoints, run } of shows) {
      it(`${file}: ${what}`, async () => {
        const fleet = new Fleet(read(file), endpoints)
        try {
          await run(fleet)
        } finally {
          await fleet.close()
        }
      })
    }
  }
})
