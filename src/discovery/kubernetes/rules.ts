import type { ModelRule, Random, RequestRules } from '../../framework/services.ts'
import type { InferenceModel } from './objects/inference-model.ts'
import type { InferenceModelRewrite } from './objects/inference-model-rewrite.ts'
import type { InferenceObjective } from './objects/inference-objective.ts'
import { byAge, type ObjectMeta } from './objects/object-meta.ts'
import { drawModel, type WeightedModels } from './objects/weighted-models.ts'

/** The objects of one pool that speak of models and priorities, in any order. */
export interface RuleObjects {
  readonly objectives: readonly InferenceObjective[]
  readonly rewrites: readonly InferenceModelRewrite[]
  readonly models: readonly InferenceModel[]
}

interface Target {
  readonly targets: WeightedModels
  readonly source: string
}

/**
 * The rules that objects make, as a snapshot.
 *
 * A rewrite that names the model wins over one for all models; among equals the oldest object, then its first rule
 * (source: llm-d's InferenceModelRewrite). A rewrite's target wins over an InferenceModel's; of several InferenceModels for
 * one name the oldest counts (source: GIE v0.5.1).
 */
export class KubernetesRules implements RequestRules {
  readonly #priorities = new Map<string, number>()
  readonly #exact = new Map<string, Target>()
  #any: Target | undefined
  readonly #models = new Map<string, InferenceModel>()

  constructor({ objectives, rewrites, models }: RuleObjects) {
    for (const { meta, priority } of objectives) this.#priorities.set(meta.name, priority)
    for (const { meta, rules } of rewrites.toSorted(byAge)) {
      const source = sourceOf('InferenceModelRewrite', meta)
      for (const { models: names, targets } of rules) {
        if (names.length === 0) this.#any ??= { targets, source }
        for (const name of names) {
          if (!this.#exact.has(name)) this.#exact.set(name, { targets, source })
        }
      }
    }
    for (const model of models.toSorted(byAge)) {
      if (!this.#models.has(model.modelName)) this.#models.set(model.modelName, model)
    }
  }

  priorityOf(objective: string): number | undefined {
    return this.#priorities.get(objective)
  }

  ruleOf(model: string, draw: Random): ModelRule | undefined {
    const rewrite = this.#exact.get(model) ?? this.#any
    const object = this.#models.get(model)
    if (rewrite === undefined && object === undefined) return undefined
    const targets = rewrite?.targets ?? object?.targets
    return {
      targetModel: targets && drawModel(targets, draw),
      criticality: object?.criticality,
      source: rewrite?.source ?? sourceOf('InferenceModel', object!.meta),
    }
  }
}

function sourceOf(kind: string, { namespace, name }: ObjectMeta): string {
  return `${kind} ${namespace}/${name}`
}
