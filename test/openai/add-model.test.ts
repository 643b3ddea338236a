import assert from 'node:assert/strict'
import { openAiApi } from '../../src/openai/openai-api.ts'

const join = (pieces: readonly Uint8Array[]) => Buffer.concat(pieces).toString()

describe('openAiApi.addModel', () => {
  for (const [text, expected] of [
    ['{"x":1}', '{"x":1,"model":"NEW"}'],
    ['{"x":{"model":"a"}}\n ', '{"x":{"model":"a"},"model":"NEW"}\n '],
    ['{ }', '{ "model":"NEW"}'],
    ['{"model":null}', '{"model":null,"model":"NEW"}'],
    ['[1]', '[1]'],
    ['', ''],
  ] as const) {
    it(`puts the model into ${JSON.stringify(text)}, in any pieces`, () => {
      assert.equal(join(openAiApi.addModel([Buffer.from(text)], 'NEW')), expected)
      const single = [...Buffer.from(text)].map((byte) => Uint8Array.of(byte))
      assert.equal(join(openAiApi.addModel(single, 'NEW')), expected)
    })
  }

  it('escapes the name and copies nothing but it', () => {
    const body = [Buffer.from('{"x":'), Buffer.from('1}')]
    const added = openAiApi.addModel(body, 'q"\\ü\n')
    assert.deepEqual(JSON.parse(join(added)), { x: 1, model: 'q"\\ü\n' })
    assert.equal(added[0], body[0])
  })
})
