import type { Criticality } from '../../../framework/request.ts'
import { type Fault, type Field, readObject } from './field.ts'
import { type ObjectMeta, readMeta, readPoolName } from './object-meta.ts'
import { readWeightedModels, type WeightedModels } from './weighted-models.ts'

/** An InferenceModel: a model's name, what it stands for, how critical it is. Source: GIE v0.5.1's api/v1alpha2. */
export interface InferenceModel {
  readonly meta: ObjectMeta
  readonly poolName: string
  /** As clients write it. */
  readonly modelName: string
  /** Standard when unset. */
  readonly criticality: Criticality
  /** Without names, the name stays as it is. */
  readonly targets: WeightedModels
}

const CRITICALITIES: readonly Criticality[] = ['Critical', 'Standard', 'Sheddable']

/** Reads an InferenceModel, or says what is wrong with it. */
export function readInferenceModel(object: unknown): InferenceModel | Fault {
  return readObject(object, (root) => {
    const spec = root.get('spec')
    return {
      meta: readMeta(root),
      poolName: readPoolName(spec),
      modelName: spec.get('modelName').text(),
      criticality: readCriticality(spec.get('criticality')),
      targets: readWeightedModels(spec.get('targetModels'), 'name'),
    }
  })
}

function readCriticality(field: Field): Criticality {
  if (!field.present) return 'Standard'
  const found = CRITICALITIES.find((each) => each === field.value)
  return found ?? field.fail(`is "${field.text()}"; use one of ${CRITICALITIES.join(', ')}`)
}
