import type { Length } from '../draw.ts'
import { poisson, type Workload, type WorkloadKind } from '../workload.ts'

const ARRIVALS = 1
const CONTENT = 2

/** Requests that have nothing in common with one another. */
function strangers(
  shape: Pick<Workload, 'name' | 'engines' | 'warmUpMs' | 'horizonMs'>,
  perSecond: number,
  prompt: Length,
  answer: Length,
): Workload {
  return {
    ...shape,
    start(load) {
      const draw = load.draw(CONTENT)
      poisson(
        load,
        load.draw(ARRIVALS),
        () => perSecond,
        () => {
          const length = draw.length(prompt)
          load.send({ prompt: draw.tokens(length), answer: draw.tokens(draw.length(answer)) })
        },
      )
    },
  }
}

/** Short questions, long thoughts. */
export const reasoning: WorkloadKind = {
  name: 'reasoning',
  description: 'about 1,000 tokens asked, 8,000 answered, nothing in common',
  rateUnit: 'requests/s',
  rates: [1, 2.2, 3],
  at: (perSecond) =>
    strangers(
      { name: 'reasoning', engines: 10, warmUpMs: 240_000, horizonMs: 600_000 },
      perSecond,
      { mean: 1000, variation: 0.5, least: 200, most: 6000 },
      { mean: 8000, variation: 0.5, least: 500, most: 30_000 },
    ),
}

/** Nothing to reuse. */
export const cold: WorkloadKind = {
  name: 'cold',
  description: 'about 4,000 tokens asked, 300 answered, nothing in common',
  rateUnit: 'requests/s',
  rates: [10, 17, 22],
  at: (perSecond) =>
    strangers(
      { name: 'cold', engines: 8, warmUpMs: 40_000, horizonMs: 160_000 },
      perSecond,
      { mean: 4000, variation: 1, least: 100, most: 60_000 },
      { mean: 300, variation: 0.7, least: 10, most: 2000 },
    ),
}
