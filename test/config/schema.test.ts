import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { configSchema } from '../../src/config/schema.ts'
import { plugins } from './plugins.ts'
import { WRONG_FILES } from './wrong-files.ts'

describe('configSchema', () => {
  const schema = configSchema(plugins)
  const validate = new Ajv({ strict: false }).compile(schema)
  const folder = 'test/fixtures/configs'

  it('is valid JSON Schema', () => {
    assert.equal(new Ajv({ strict: false }).validateSchema(schema), true)
    assert.deepEqual(JSON.parse(JSON.stringify(schema)), schema, 'is plain JSON')
  })

  for (const name of readdirSync(folder).filter((name) => /\.(yaml|json)$/.test(name))) {
    it(`accepts ${name}`, () => {
      // A key without a value is absent to the picker; editors mark it, which is no harm.
      const value: unknown = parse(readFileSync(`${folder}/${name}`, 'utf8'), (_key, inner) =>
        inner === null ? undefined : inner,
      )
      assert.equal(validate(value), true, JSON.stringify(validate.errors))
    })
  }

  const refused = WRONG_FILES.filter(({ schema }) => schema === true)
  it('is tried on more than 25 wrong files', () => assert.ok(refused.length > 25))
  for (const { what, text } of refused) {
    it(`refuses ${what}`, () => assert.equal(validate(parse(text)), false))
  }

  it('offers types with their descriptions, and parameters with defaults', () => {
    const text = JSON.stringify(schema)
    for (const { type, aliases } of plugins) {
      for (const name of [type, ...aliases]) assert.ok(text.includes(`"const":"${name}"`), name)
    }
    assert.ok(text.includes('Requests in flight up to which an endpoint counts as idle'))
    assert.ok(text.includes('"default":"2s"'))
  })

  it('lets a file that names modules use types that it does not know', () => {
    const value = {
      apiVersion: 'llm-d.ai/v1alpha1',
      kind: 'EndpointPickerConfig',
      schedulingProfiles: [{ name: 'default', plugins: [{ type: 'same-zone-scorer' }] }],
    }
    assert.equal(validate(value), false)
    assert.equal(validate({ ...value, modules: ['./same-zone-scorer.ts'] }), true)
  })
})
