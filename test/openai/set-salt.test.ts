import assert from 'node:assert/strict'
import { openAiApi } from '../../src/openai/openai-api.ts'

const join = (pieces: readonly Uint8Array[]) => Buffer.concat(pieces).toString()
const salted = (body: readonly Uint8Array[], salt: string) => {
  const { cacheSalt } = openAiApi.parse('/v1/models', new Map(), body)
  return join(openAiApi.setSalt(body, salt, cacheSalt))
}

describe('openAiApi.setSalt', () => {
  for (const [text, expected] of [
    ['{"a":1}', '{"a":1,"cache_salt":"NEW"}'],
    ['{ }', '{ "cache_salt":"NEW"}'],
    ['{"cache_salt" : "old" , "n":1.0}', '{"cache_salt" : "NEW" , "n":1.0}'],
    ['{"cache\\u005fsalt":"old"}', '{"cache\\u005fsalt":"NEW"}'],
    ['{"cache_salt":"a","x":{"cache_salt":"b"}}', '{"cache_salt":"NEW","x":{"cache_salt":"b"}}'],
    ['{"cache_salt":"a","cache_salt":"b"}', '{"cache_salt":"NEW","cache_salt":"NEW"}'],
    ['{"cache_salt":null}', '{"cache_salt":null,"cache_salt":"NEW"}'],
    ['{"cache_salt":""}', '{"cache_salt":"","cache_salt":"NEW"}'],
    [
      '{"cache_salt":"a","cache_salt":null}',
      '{"cache_salt":"a","cache_salt":null,"cache_salt":"NEW"}',
    ],
    ['{"cache_salts":"a","model":"m"}', '{"cache_salts":"a","model":"m","cache_salt":"NEW"}'],
  ] as const) {
    it(`makes ${expected} of ${text}, in any pieces`, () => {
      assert.equal(salted([Buffer.from(text)], 'NEW'), expected)
      assert.equal(
        salted(
          [...Buffer.from(text)].map((byte) => Uint8Array.of(byte)),
          'NEW',
        ),
        expected,
      )
      // Whatever else it has, the engine reads the new one.
      assert.equal((JSON.parse(expected) as { cache_salt: string }).cache_salt, 'NEW')
    })
  }

  it('escapes the salt', () => {
    const text = salted([Buffer.from('{}')], '","model":"x')
    assert.deepEqual(JSON.parse(text), { cache_salt: '","model":"x' })
  })
})
