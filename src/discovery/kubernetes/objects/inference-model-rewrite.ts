import { type Fault, type Field, readObject } from './field.ts'
import { type ObjectMeta, readMeta, readPoolName } from './object-meta.ts'
import { readWeightedModels, type WeightedModels } from './weighted-models.ts'

/** One rule of an InferenceModelRewrite. */
export interface RewriteRule {
  /** Names as clients write them; empty matches every request. */
  readonly models: readonly string[]
  readonly targets: WeightedModels
}

/** An InferenceModelRewrite. Source: GIE's apix/v1alpha2, llm-d.ai/v1alpha2. */
export interface InferenceModelRewrite {
  readonly meta: ObjectMeta
  readonly poolName: string
  readonly rules: readonly RewriteRule[]
}

/** Reads an InferenceModelRewrite, or says what is wrong with it. */
export function readInferenceModelRewrite(object: unknown): InferenceModelRewrite | Fault {
  return readObject(object, (root) => {
    const spec = root.get('spec')
    return {
      meta: readMeta(root),
      poolName: readPoolName(spec),
      rules: spec
        .get('rules')
        .items()
        .map((rule) => ({
          models: rule.get('matches').items().map(readMatch),
          targets: readTargets(rule.get('targets')),
        })),
    }
  })
}

function readMatch(match: Field): string {
  const model = match.get('model')
  const type = model.get('type')
  if (type.textOr('Exact') !== 'Exact') type.fail(`is "${type.text()}"; only Exact is known`)
  return model.get('value').text()
}

function readTargets(list: Field): WeightedModels {
  const targets = readWeightedModels(list, 'modelRewrite')
  if (targets.names.length === 0) list.fail('is empty; give at least one target')
  return targets
}
