import assert from 'node:assert/strict'
import { openAiApi } from '../../src/openai/openai-api.ts'

const rewrite = (text: string, model: string) =>
  join(openAiApi.rewriteModel([Buffer.from(text)], model))
const join = (pieces: readonly Uint8Array[]) => Buffer.concat(pieces).toString()

describe('openAiApi.rewriteModel', () => {
  const cases: [string, string, string][] = [
    ['the plain key', '{"model":"a","x":1}', '{"model":"NEW","x":1}'],
    [
      'white space',
      '{ "x" : [1, {"y": 2}] ,\n "model" :\t"a" }',
      '{ "x" : [1, {"y": 2}] ,\n "model" :\t"NEW" }',
    ],
    ['an empty value', '{"model":""}', '{"model":"NEW"}'],
    ['an escaped value', '{"model":"a\\"b\\\\","x":"\\\\"}', '{"model":"NEW","x":"\\\\"}'],
    ['an escaped key', '{"\\u006dodel":"a"}', '{"\\u006dodel":"NEW"}'],
    ['the key each time', '{"model":"a","x":1,"model":"b"}', '{"model":"NEW","x":1,"model":"NEW"}'],
    [
      'no nested key',
      '{"x":{"model":"a"},"y":[{"model":"b"}]}',
      '{"x":{"model":"a"},"y":[{"model":"b"}]}',
    ],
    ['no value that is the word', '{"x":"model","y":"a"}', '{"x":"model","y":"a"}'],
    [
      'no text that contains the key',
      '{"x":"\\"model\\":\\"a\\"","model":"b"}',
      '{"x":"\\"model\\":\\"a\\"","model":"NEW"}',
    ],
    [
      'no longer key',
      '{"models":"a","mode":"b","amodel":"c"}',
      '{"models":"a","mode":"b","amodel":"c"}',
    ],
    [
      'no value that is no string',
      '{"model":null,"x":{"a":"b"},"y":"c"}',
      '{"model":null,"x":{"a":"b"},"y":"c"}',
    ],
    ['no array of strings', '{"model":["a"],"x":"b"}', '{"model":["a"],"x":"b"}'],
  ]
  for (const [name, body, expected] of cases) {
    it(`changes ${name}`, () => {
      assert.equal(rewrite(body, 'NEW'), expected)
    })

    it(`changes ${name}, cut anywhere`, () => {
      const bytes = Buffer.from(body)
      for (let first = 0; first <= bytes.length; first++) {
        for (let second = first; second <= bytes.length; second += 3) {
          const pieces = [
            bytes.subarray(0, first),
            bytes.subarray(first, second),
            bytes.subarray(second),
          ]
          assert.equal(join(openAiApi.rewriteModel(pieces, 'NEW')), expected)
        }
      }
      const single = [...bytes].map((byte) => Uint8Array.of(byte))
      assert.equal(join(openAiApi.rewriteModel(single, 'NEW')), expected)
    })
  }

  it('escapes the new name', () => {
    assert.deepEqual(JSON.parse(rewrite('{"model":"a"}', 'q"\\ü\n')), { model: 'q"\\ü\n' })
  })

  it('returns the body itself when there is nothing to change', () => {
    const body = [Buffer.from('{"x":1}')]
    assert.equal(openAiApi.rewriteModel(body, 'NEW'), body)
  })

  it('copies nothing but the value', () => {
    const body = [Buffer.from('{"model":"a",'), Buffer.from('"x":1}')]
    const rewritten = openAiApi.rewriteModel(body, 'NEW')
    assert.equal(rewritten[0]!.buffer, body[0]!.buffer)
    assert.equal(rewritten.at(-1), body[1])
  })

  it('agrees with JSON.parse on random objects, cut at random', () => {
    const random = seeded(7)
    const text = () => {
      const alphabet = ['model', '"', '\\', '{', '}', ':', ',', 'ü', '\n', 'x']
      let value = ''
      for (let i = random(6); i > 0; i--) value += alphabet[random(alphabet.length)]
      return value
    }
    const value = (depth: number): unknown => {
      const kind = random(depth > 3 ? 3 : 5)
      if (kind < 2) return text()
      if (kind === 2) return random(100)
      if (kind === 3) return Array.from({ length: random(4) }, () => value(depth + 1))
      return object(depth + 1)
    }
    const object = (depth: number) =>
      Object.fromEntries(Array.from({ length: random(5) }, () => [text(), value(depth)]))
    for (let i = 0; i < 2000; i++) {
      const original = { ...object(0), model: text(), ...object(0) }
      const bytes = Buffer.from(JSON.stringify(original, null, random(2)))
      const pieces: Buffer[] = []
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + random(20)
        pieces.push(bytes.subarray(at, at + size))
        at += size
      }
      const expected = typeof original.model === 'string' ? { ...original, model: 'NEW' } : original
      assert.deepEqual(JSON.parse(join(openAiApi.rewriteModel(pieces, 'NEW'))), expected)
    }
  })
})

/** Whole numbers below a bound, the same ones each time. */
function seeded(state: number): (bound: number) => number {
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
}
