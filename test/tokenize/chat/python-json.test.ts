import assert from 'node:assert/strict'
import { Template } from '@huggingface/jinja'
import {
  parsePythonJson,
  unwrapNumbers,
  wrapNumber,
} from '../../../src/tokenize/chat/python-json.ts'

const print = new Template('{{ value | tojson }}')

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
    ['123456789012345678901234567890', '123456789012345678901234567890'],
    ['0.1', '0.1'],
    ['[1,2.0,"3.0"]', '[1, 2.0, "3.0"]'],
    ['{"a":{"b":1.0},"c":null}', '{"a": {"b": 1.0}, "c": null}'],
    ['"1.0 \\" 2.0 \\\\"', '"1.0 \\" 2.0 \\\\"'],
    ['{"1.0":true}', '{"1.0": true}'],
    ['"ünïcode \\u2028 \\t"', '"ünïcode \u2028 \\t"'],
  ] as const) {
    it(`keeps ${text}`, () => {
      assert.equal(unwrapNumbers(print.render({ value: parsePythonJson(text) })), printed)
    })
  }

  it('refuses what is not JSON', () => {
    assert.throws(() => parsePythonJson('{"a":01}'), SyntaxError)
    assert.throws(() => parsePythonJson('1.'), SyntaxError)
  })

  it('keeps a number that the template prints as text', () => {
    const template = new Template('<{{ value }}>')
    assert.equal(unwrapNumbers(template.render({ value: parsePythonJson('2.0') })), '<2.0>')
  })
})

describe('wrapNumber', () => {
  for (const [value, printed] of [
    [5, '5'],
    [0.5, '0.5'],
    [1e-7, '1e-07'],
    [2.5e-5, '2.5e-05'],
  ] as const) {
    it(`prints ${value} as Python does`, () => {
      assert.equal(unwrapNumbers(print.render({ value: wrapNumber(value) })), printed)
    })
  }
})
