import assert from 'node:assert/strict'
import { parseConfig } from '../../src/config/parse.ts'
import { problemLine, problemsOf } from '../../src/config/problem.ts'
import { plugins } from './plugins.ts'

const profile = (...lines: readonly string[]) =>
  `plugins:\n${lines.map((line) => `  - ${line}\n`).join('')}`
const errors = (text: string) => {
  try {
    parseConfig(text, 'p.yaml', plugins)
  } catch (error) {
    return problemsOf(error)
      .filter(({ severity }) => severity === 'error')
      .map(problemLine)
  }
  return assert.fail('no problem was found')
}

describe('onError and timeBudgetMs', () => {
  it('are read from entries, inline ones too', () => {
    const { spec, warnings } = parseConfig(
      `plugins:
  - { type: queue-scorer, onError: neutral, timeBudgetMs: 0.5 }
  - { type: label-selector-filter, parameters: { matchLabels: { a: b } }, onError: skip }
schedulingProfiles:
  - name: default
    plugins:
      - pluginRef: queue-scorer
      - pluginRef: label-selector-filter
      - { type: running-requests-size-scorer, onError: fail }
      - { type: max-score-picker, timeBudgetMs: 2, onError: fail }
`,
      'p.yaml',
      plugins,
    )
    assert.deepEqual(warnings, [])
    const read = spec.plugins.map(({ name, onError, timeBudgetMs }) => [
      name,
      onError,
      timeBudgetMs,
    ])
    assert.deepEqual(read, [
      ['queue-scorer', 'neutral', 0.5],
      ['label-selector-filter', 'skip', undefined],
      ['running-requests-size-scorer', 'fail', undefined],
      ['max-score-picker', 'fail', 2],
      ['single-profile-handler', undefined, undefined],
    ])
  })

  /** Entry, the value that is wrong, and what is said of it. */
  const wrong: readonly (readonly [string, string, string])[] = [
    [
      '{ type: queue-scorer, onError: ignore }',
      'ignore',
      'onError: must be one of "neutral", "skip", "fail", got "ignore"',
    ],
    [
      '{ type: max-score-picker, onError: skip }',
      'skip',
      'onError: "onError" of a picker must be "fail": without a pick there is no answer; got "skip"; remove it',
    ],
    [
      '{ type: single-profile-handler, onError: neutral }',
      'neutral',
      'onError: "onError" of a handler must be "fail": without a handler no profile runs; got "neutral"; remove it',
    ],
    [
      '{ type: token-producer, onError: fail }',
      'fail',
      'onError: "onError" of a producer must be "skip": the request goes on without its data; got "fail"; remove it',
    ],
    [
      '{ type: destination-endpoint-served-verifier, onError: neutral }',
      'neutral',
      'onError: "onError" of an observer must be "skip": the request goes on without it; got "neutral"; remove it',
    ],
    ['{ type: queue-scorer, timeBudgetMs: 0 }', '0 }', 'timeBudgetMs: must be more than 0, got 0'],
    [
      '{ type: queue-scorer, timeBudgetMs: 5ms }',
      '5ms',
      'timeBudgetMs: must be a number, got "5ms"',
    ],
  ]
  for (const [line, value, said] of wrong) {
    it(`are refused with their place: ${line}`, () => {
      const column = '  - '.length + line.indexOf(value) + 1
      assert.deepEqual(errors(profile(line)), [`p.yaml:2:${column}  plugins[0].${said}`])
    })
  }

  it('are refused beside a pluginRef', () => {
    const text = `${profile('type: queue-scorer')}schedulingProfiles:
  - name: default
    plugins:
      - { pluginRef: queue-scorer, onError: skip, timeBudgetMs: 3 }
`
    const why = 'it belongs to the entry of "plugins" that "queue-scorer" names'
    assert.deepEqual(errors(text), [
      `p.yaml:6:36  schedulingProfiles[0].plugins[0].onError: "onError" beside "pluginRef"; ${why}`,
      `p.yaml:6:51  schedulingProfiles[0].plugins[0].timeBudgetMs: "timeBudgetMs" beside "pluginRef"; ${why}`,
    ])
  })
})
