import assert from 'node:assert/strict'
import {
  ALL_RULES,
  NEWEST_RULES,
  rulesOf,
  rulesOfAll,
} from '../../../src/tokenize/chat/engine-rules.ts'

describe('rulesOf', () => {
  it('gives one set of rules for a release that is known, and for those after the last', () => {
    assert.deepEqual(rulesOf('0.32.0'), [NEWEST_RULES])
    assert.deepEqual(rulesOf('0.32.1.dev4+g1234'), [NEWEST_RULES])
    assert.deepEqual(rulesOf('1.0.0'), [NEWEST_RULES])
    assert.deepEqual(rulesOf('0.10.0.post2'), [ALL_RULES.at(-1)])
    assert.deepEqual(rulesOf('v0.12.0+cu129'), rulesOf('0.12.0'))
  })

  it('gives those of both neighbours for a release between two of them', () => {
    assert.deepEqual(rulesOf('0.25.0'), [...rulesOf('0.24.0'), ...rulesOf('0.26.0')])
    assert.deepEqual(rulesOf('0.20.1'), [...rulesOf('0.19.1'), ...rulesOf('0.20.2')])
    assert.deepEqual(rulesOf('0.32.0rc1'), [...rulesOf('0.30.0'), ...rulesOf('0.32.0')])
  })

  for (const version of [undefined, '', 'dev', '0.9.2', '0.32', '99999999.0.0']) {
    it(`gives all rules for ${version}`, () => assert.deepEqual(rulesOf(version), ALL_RULES))
  }
})

describe('rulesOfAll', () => {
  it('joins what the engines of a pool may do, each once', () => {
    assert.deepEqual(rulesOfAll(['0.32.0', '0.32.1']), [NEWEST_RULES])
    assert.deepEqual(rulesOfAll(['0.10.0', '0.32.0']), [NEWEST_RULES, ALL_RULES.at(-1)])
    assert.deepEqual(rulesOfAll(['0.32.0', undefined]), ALL_RULES)
    assert.deepEqual(rulesOfAll([]), ALL_RULES)
  })
})
