import assert from 'node:assert/strict'
import { parsePythonJson } from '../../../src/tokenize/chat/python-json.ts'
import { JinjaTemplate } from '../../../src/tokenize/jinja/jinja-template.ts'

const print = new JinjaTemplate('{{ value | tojson }}')

describe('parsePythonJson', () => {
  // What `json.dumps(json.loads(text), ensure_ascii=False)` of Python 3.11 prints.
  for (const [text, printed] of [
    ['1', '1'],
    ['1.0', '1.0'],
    ['-0', '0'],
    ['-0.0', '-0.0'],
    ['1e3', '1000.0'],
    ['1E+3', '1000.0'],
    ['1.50', '1.5'],
    ['1e-7', '1e-07'],
    ['0.0001', '0.0001'],
    ['0.00001', '1e-05'],
    ['1.25e-10', '1.25e-10'],
    ['1e15', '1000000000000000.0'],
    ['1e16', '1e+16'],
    ['1.5e300', '1.5e+300'],
    ['1e400', 'Infinity'],
    ['123456789012345678901234567890', '123456789012345678901234567890'],
    ['-9007199254740993', '-9007199254740993'],
    ['0.1', '0.1'],
    ['[1,2.0,"3.0"]', '[1, 2.0, "3.0"]'],
    ['{"a":{"b":1.0},"c":null}', '{"a": {"b": 1.0}, "c": null}'],
    ['"1.0 \\" 2.0 \\\\"', '"1.0 \\" 2.0 \\\\"'],
    ['{"1.0":true}', '{"1.0": true}'],
    ['{"b":1,"1":2,"a":{"10":"x","9":"y"}}', '{"b": 1, "1": 2, "a": {"10": "x", "9": "y"}}'],
    ['{"a":1,"b":2,"a":3}', '{"a": 3, "b": 2}'],
    ['"ünïcode \\u2028 \\t"', '"ünïcode \u2028 \\t"'],
    ['["\\ufdd01\\ufdd1", 1.0]', '["\ufdd01\ufdd1", 1.0]'],
  ] as const) {
    it(`keeps ${text}`, () => {
      assert.equal(print.render({ value: parsePythonJson(text) }), printed)
    })
  }

  it('refuses what is not JSON', () => {
    assert.throws(() => parsePythonJson('{"a":01}'), SyntaxError)
    assert.throws(() => parsePythonJson('1.'), SyntaxError)
  })

  it('leaves the prototype alone', () => {
    const value = parsePythonJson('{"__proto__":{"polluted":1.0},"a":1.0}')
    assert.equal(print.render({ value }), '{"__proto__": {"polluted": 1.0}, "a": 1.0}')
    assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  })

  it('gives numbers of their own kind', () => {
    const kinds = new JinjaTemplate('{{ v is float }} {{ v is integer }} {{ v + 1 }}')
    assert.equal(kinds.render({ v: parsePythonJson('1.0') }), 'True False 2.0')
    assert.equal(kinds.render({ v: parsePythonJson('1') }), 'False True 2')
  })
})
