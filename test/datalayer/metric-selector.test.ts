import assert from 'node:assert/strict'
import { parseMetricSelector } from '../../src/datalayer/metric-selector.ts'

describe('parseMetricSelector', () => {
  for (const [text, name, labels] of [
    ['vllm:num_requests_waiting', 'vllm:num_requests_waiting', {}],
    ['a{b=c}', 'a', { b: 'c' }],
    ['a{b="c", d = e}', 'a', { b: 'c', d: 'e' }],
    ['a{}', 'a', {}],
    [' a{b=} ', 'a', { b: '' }],
  ] as const) {
    it(`reads ${text}`, () => assert.deepEqual(parseMetricSelector(text), { name, labels }))
  }

  for (const text of ['', '{a=b}', 'a b', '1a', 'a{b}', 'a{b=c', 'a{b=c}d', 'a{=c}', 'a{b=c,}']) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseMetricSelector(text), {
        name: 'RangeError',
        message: `"${text}" is not a metric; write NAME or NAME{LABEL=VALUE,...}`,
      })
    })
  }
})
