import assert from 'node:assert/strict'
import { type Fault, isFault } from '../../../src/discovery/kubernetes/objects/field.ts'
import { readInferenceModel } from '../../../src/discovery/kubernetes/objects/inference-model.ts'
import { readInferenceModelRewrite } from '../../../src/discovery/kubernetes/objects/inference-model-rewrite.ts'
import { readInferenceObjective } from '../../../src/discovery/kubernetes/objects/inference-objective.ts'
import { KubernetesRules } from '../../../src/discovery/kubernetes/rules.ts'
import { seededRandom } from '../../../src/framework/random.ts'
import { poolPart } from './cluster.ts'

const read = <T>(reader: (object: unknown) => T, object: unknown): Exclude<T, Fault> => {
  const value = reader(object)
  assert.ok(!isFault(value), JSON.stringify(value))
  return value as Exclude<T, Fault>
}
const born = (year: number) => ({ creationTimestamp: `${year}-01-01T00:00:00Z` })
const rewrite = (name: string, year: number, ...rules: readonly [string[], string][]) =>
  read(
    readInferenceModelRewrite,
    poolPart(
      'v',
      'k',
      name,
      {
        rules: rules.map(([models, target]) => ({
          matches: models.map((value) => ({ model: { value } })),
          targets: [{ modelRewrite: target }],
        })),
      },
      born(year),
    ),
  )
const model = (name: string, year: number, spec: object) =>
  read(readInferenceModel, poolPart('v', 'k', name, { modelName: 'chat', ...spec }, born(year)))
const draw = seededRandom(5)

describe('KubernetesRules', () => {
  it('knows the priority of an objective, 0 when it has none', () => {
    const objectives = [
      read(readInferenceObjective, poolPart('v', 'k', 'a', { priority: -5 })),
      read(readInferenceObjective, poolPart('v', 'k', 'b', {})),
    ]
    const rules = new KubernetesRules({ objectives, rewrites: [], models: [] })
    assert.deepEqual(
      ['a', 'b', 'c'].map((name) => rules.priorityOf(name)),
      [-5, 0, undefined],
    )
  })

  it('prefers an exact rewrite, then the oldest object, then its first rule', () => {
    const rewrites = [
      rewrite('young', 2026, [['chat'], 'young'], [[], 'young-any']),
      rewrite(
        'old',
        2025,
        [[], 'any'],
        [['chat', 'talk'], 'first'],
        [['chat'], 'second'],
        [[], 'x'],
      ),
    ]
    const rules = new KubernetesRules({ objectives: [], rewrites, models: [] })
    assert.deepEqual(rules.ruleOf('chat', draw), {
      ...{ targetModel: 'first', criticality: undefined },
      source: 'InferenceModelRewrite default/old',
    })
    assert.equal(rules.ruleOf('talk', draw)!.targetModel, 'first')
    assert.equal(rules.ruleOf('else', draw)!.targetModel, 'any')
    assert.equal(rules.ruleOf('', draw)!.targetModel, 'any')
    const none = new KubernetesRules({ objectives: [], rewrites: [], models: [] })
    assert.equal(none.ruleOf('chat', draw), undefined)
  })

  it('takes criticality and target from the oldest InferenceModel, its target only without a rewrite', () => {
    const models = [
      model('young', 2026, { criticality: 'Sheddable' }),
      model('old', 2025, { criticality: 'Critical', targetModels: [{ name: 'chat-v1' }] }),
    ]
    const alone = new KubernetesRules({ objectives: [], rewrites: [], models })
    assert.deepEqual(alone.ruleOf('chat', draw), {
      ...{ targetModel: 'chat-v1', criticality: 'Critical' },
      source: 'InferenceModel default/old',
    })
    const rewrites = [rewrite('r', 2026, [['chat'], 'chat-v2'])]
    const both = new KubernetesRules({ objectives: [], rewrites, models })
    assert.deepEqual(both.ruleOf('chat', draw), {
      ...{ targetModel: 'chat-v2', criticality: 'Critical' },
      source: 'InferenceModelRewrite default/r',
    })
  })

  const shares: readonly (readonly [string, readonly (number | undefined)[], readonly number[]])[] =
    [
      ['by weight', [1, 3, 6], [0.1, 0.3, 0.6]],
      ['evenly without weights', [undefined, undefined], [0.5, 0.5]],
      ['evenly when all weights are 0', [0, 0], [0.5, 0.5]],
      ['never to one without a weight beside one that has it', [undefined, 2], [0, 1]],
    ]
  for (const [how, weights, expected] of shares) {
    it(`divides requests among targets ${how}`, () => {
      const targetModels = weights.map((weight, i) => ({
        name: `t${i}`,
        ...(weight !== undefined && { weight }),
      }))
      const rules = new KubernetesRules({
        ...{ objectives: [], rewrites: [], models: [model('m', 2025, { targetModels })] },
      })
      const counts = weights.map(() => 0)
      const draws = 10_000
      for (let i = 0; i < draws; i++) {
        counts[Number(rules.ruleOf('chat', draw)!.targetModel!.slice(1))]! += 1
      }
      for (const [i, share] of expected.entries()) {
        assert.ok(Math.abs(counts[i]! / draws - share) < 0.02, counts.join(', '))
      }
    })
  }
})
