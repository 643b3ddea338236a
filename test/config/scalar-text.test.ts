import assert from 'node:assert/strict'
import { readDocument, readDocuments } from '../../src/config/document.ts'

const SCALARS: Readonly<Record<string, string>> = {
  plain: 'key: one two\n',
  'plain over lines': 'key: one\n  two   three\n\n  four\nnext: 1\n',
  'single quotes': "key: 'it''s a\n  long ''one'''\n",
  'double quotes': 'key: "say \\"x\\"\\tand\\u0041 \\x41\\\n  on   and\n  back\\\\slash"\n',
  literal: 'key: |\n  one\n    two \\\n\n  three\n',
  'literal, indented within a list': 'key:\n    - |-\n      vllm \\\n        --x\n',
  folded: 'key: >-\n    one two\n    three\n      more\n\n    four\n\n\n    five\n',
  'folded, kept': 'key: >+\n  a\n  b\n\n\nnext: 1\n',
  JSON: '{"key": "a\\nb\\/c \\"d\\""}',
}

/** The text value at `key`, or in the list there. */
function scalarOf(text: string): {
  readonly value: string
  readonly path: readonly (string | number)[]
} {
  const { key } = readDocument(text).value as { key: string | string[] }
  return typeof key === 'string'
    ? { value: key, path: ['key'] }
    : { value: key[0]!, path: ['key', 0] }
}

describe('placeIn', () => {
  for (const [name, text] of Object.entries(SCALARS)) {
    it(`finds each character of a scalar: ${name}`, () => {
      const document = readDocument(text)
      const { value, path } = scalarOf(text)
      const lines = text.split('\n')
      let before = 0
      for (let i = 0; i < value.length; i++) {
        const { line, column } = document.placeIn(path, i)
        const at = lines.slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0) + column - 1
        assert.ok(at > before || i === 0, `character ${i} stands behind the one before`)
        before = at
        const written = text[at]!
        const unit = value[i]!
        const same = written === unit || (unit === ' ' && written === '\n') || written === '\\'
        assert.ok(same, `${JSON.stringify(unit)} of ${name} is at ${JSON.stringify(written)}`)
      }
    })
  }

  it('is where the value is, for anything but a text', () => {
    const document = readDocument('a: { b: 12 }\n')
    assert.deepEqual(document.placeIn(['a', 'b'], 5), { line: 1, column: 9 })
    assert.deepEqual(document.placeIn(['a', 'c'], 5), { line: 1, column: 4 })
  })
})

describe('readDocuments', () => {
  it('gives values and places of each document in the whole text', () => {
    const text = '# first\na: 1\n---\nb: |\n  x\n  y\n---\n---\n{"c": 3}\n'
    const documents = readDocuments(text)
    assert.deepEqual(
      documents.map(({ value }) => value),
      [{ a: 1 }, { b: 'x\ny\n' }, null, { c: 3 }],
    )
    assert.deepEqual(documents[1]!.place(['b'], 'key'), { line: 4, column: 1 })
    assert.deepEqual(documents[1]!.placeIn(['b'], 2), { line: 6, column: 3 })
    assert.deepEqual(documents[3]!.place(['c'], 'value'), { line: 9, column: 7 })
  })

  it('names faults in the one document that has them', () => {
    const documents = readDocuments('a: 1\n---\nb: c: d\n')
    assert.deepEqual(
      documents.map(({ faults }) => faults.map(({ line }) => line)),
      [[], [3]],
    )
    assert.equal(readDocuments('').length, 0)
  })

  it('refuses depth without end, aliases that multiply, and more than is read', () => {
    const faultsOf = (text: string) => readDocuments(text)[0]!.faults.map(({ message }) => message)
    assert.match(faultsOf('['.repeat(100_000)).join(), /nested too deeply/)
    const aliases = Array.from(
      { length: 30 },
      (_, i) => `a${i + 1}: &a${i + 1} [*a${i},*a${i},*a${i}]`,
    )
    assert.match(faultsOf(`a0: &a0 [1]\n${aliases.join('\n')}`).join(), /alias/i)
    assert.match(faultsOf(`a: ${'x'.repeat(16 * 1024 * 1024)}`).join(), /larger than/)
  })
})
