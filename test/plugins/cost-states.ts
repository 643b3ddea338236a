import { seededRandom } from '../../src/framework/random.ts'
import type { CostInputs } from '../../src/plugins/scorers/cost-terms.ts'

/** Random states of 2 to 16 endpoints: idle to overfull, of one or of several sizes, with and without a shared prefix. */
export function* costStates(count: number, seed: number): Generator<CostInputs> {
  const random = seededRandom(seed)
  const below = (limit: number) => Math.floor(random.next() * limit)
  for (let i = 0; i < count; i++) {
    const endpoints = 2 + below(15)
    const load = random.next() ** 2
    const sameSize = random.next() < 0.5
    const promptTokens = 1 + below(random.next() < 0.3 ? 500 : 30_000)
    const each = (value: () => number) => Float64Array.from({ length: endpoints }, value)
    const share = () => (random.next() < 0.5 ? 0 : below(promptTokens))
    const capacity = each(() => (sameSize ? 307_328 : 50_000 + below(500_000)))
    yield {
      promptTokens,
      answerTokens: 1 + below(1200),
      matched: each(share),
      owned: each(share),
      queued: each(() => below(load * 60_000)),
      requests: each(() => below(load * 60)),
      context: each(() => below(load * 300_000)),
      kvUsed: capacity.map((tokens) =>
        Math.floor(tokens * Math.min(1, load * 0.6 + random.next() * 0.5)),
      ),
      kvPending: each(() => below(load * 60_000)),
      kvCapacity: capacity,
    }
  }
}
