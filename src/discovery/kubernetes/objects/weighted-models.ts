import type { Random } from '../../../framework/services.ts'
import type { Field } from './field.ts'

/** Models among which requests are divided. */
export interface WeightedModels {
  readonly names: readonly string[]
  /** The share of each, in any unit; the sum is above 0. */
  readonly weights: readonly number[]
}

const MOST_WEIGHT = 1_000_000

/**
 * Reads a list of `{<nameKey>, weight}`. Without any weight, or with none above 0, all are equal; where some have a
 * weight, those without it are never chosen.
 */
export function readWeightedModels(list: Field, nameKey: string): WeightedModels {
  const items = list.items()
  const names = items.map((item) => item.get(nameKey).text())
  const weights = items.map((item) => {
    const weight = item.get('weight')
    return weight.present ? weight.integer(0, MOST_WEIGHT) : 0
  })
  return { names, weights: weights.some((weight) => weight > 0) ? weights : names.map(() => 1) }
}

/** One of the names at random by weight; undefined when there is none. */
export function drawModel({ names, weights }: WeightedModels, draw: Random): string | undefined {
  if (names.length <= 1) return names[0]
  let rest = draw.next() * weights.reduce((sum, weight) => sum + weight, 0)
  for (const [i, weight] of weights.entries()) {
    rest -= weight
    if (rest < 0) return names[i]
  }
  return names[weights.findLastIndex((weight) => weight > 0)]
}
