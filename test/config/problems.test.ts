import assert from 'node:assert/strict'
import { parseConfig } from '../../src/config/parse.ts'
import { type Problem, problemLine, problemsOf } from '../../src/config/problem.ts'
import { SchedulerError } from '../../src/framework/errors.ts'
import { modulePlugins, plugins } from './plugins.ts'
import { POINTLESS_FILES } from './pointless-files.ts'
import { WRONG_FILES } from './wrong-files.ts'

function problems(text: string, strict = false): readonly Problem[] {
  try {
    return parseConfig(text, 'p.yaml', plugins, { strict, modulePlugins }).warnings
  } catch (error) {
    assert.ok(error instanceof SchedulerError, String(error))
    return problemsOf(error)
  }
}

const lines = (found: readonly Problem[], severity: Problem['severity']) =>
  found
    .filter((problem) => problem.severity === severity)
    .map((problem) => problemLine(problem).slice('p.yaml:'.length))

describe('parseConfig, given a wrong file', () => {
  const files = [...WRONG_FILES, ...POINTLESS_FILES]
  it('is tried on 60 of them at least', () => assert.ok(files.length >= 60, `${files.length}`))

  for (const { what, text, errors = [], warnings = [] } of files) {
    it(`names every problem of ${what}`, () => {
      const found = problems(text)
      assert.deepEqual(lines(found, 'error'), errors)
      assert.deepEqual(lines(found, 'warning'), warnings)
      const strict = problems(text, true)
      assert.deepEqual(lines(strict, 'warning'), [])
      assert.equal(strict.length, found.length, 'strict turns warnings into errors')
    })
  }

  for (const { what, near } of POINTLESS_FILES) {
    it(`is silent of what is nearly ${what}`, () => assert.deepEqual(problems(near), []))
  }

  it('throws one error with a line for each problem, and the list as its cause', () => {
    const text = 'apiVersion: llm-d.ai/v1alpha1\nkind: Endpointpicker\ncolor: red\n'
    assert.throws(() => parseConfig(text, 'conf/p.yaml', plugins), {
      name: 'SchedulerError',
      code: 'CONFIG_INVALID',
      message:
        'conf/p.yaml:2:7  kind: must be "EndpointPickerConfig", got "Endpointpicker"\n' +
        'conf/p.yaml:3:1  color: unknown field "color"; known: apiVersion, kind, modules, plugins, schedulingProfiles, ' +
        'tokenizers, metrics, responses, saltHeader, decisionHeader, dataParallel, dataParallelSize, featureGates, dataLayer, data, flowControl, requestHandler, saturationDetector, parser',
    })
    assert.deepEqual(problemsOf(new Error('another')), [])
  })
})
