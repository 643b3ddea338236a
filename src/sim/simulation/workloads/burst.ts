import { poisson, type WorkloadKind } from '../workload.ts'

const FIRST_MS = 12_000
const EVERY_MS = 20_000
const HORIZON_MS = 190_000
/** No herd and nobody else comes after it. */
const LAST_MS = 180_000
const OTHERS_PER_SECOND = 4
const SHARED_TOKENS = 8000
const WITHIN_MS = 1
const SHARED_REST = { mean: 400, variation: 0.5, least: 50, most: 2000 }
const OWN = { mean: 2500, variation: 0.8, least: 100, most: 20_000 }
const OTHERS = { mean: 2000, variation: 0.8, least: 100, most: 20_000 }
const ANSWER = { mean: 250, variation: 0.6, least: 10, most: 1500 }

const ARRIVALS = 1
const CONTENT = 2
const HERDS = 3

/** Herds: many requests within a millisecond, half of them with a beginning in common that nobody has seen. */
export const burst: WorkloadKind = {
  name: 'burst',
  description: 'a herd within a millisecond every 20 s, half of it with 8,000 new tokens in common',
  rateUnit: 'in a herd',
  rates: [100, 200, 400],
  at: (size) => ({
    name: 'burst',
    engines: 8,
    warmUpMs: 10_000,
    horizonMs: HORIZON_MS,
    start(load) {
      const herds = load.draw(HERDS)
      for (let atMs = FIRST_MS; atMs < LAST_MS; atMs += EVERY_MS) {
        const shared = herds.tokens(SHARED_TOKENS)
        for (let i = 0; i < size; i++) {
          const beginning = i % 2 === 0 ? shared : new Int32Array(0)
          const rest = herds.length(i % 2 === 0 ? SHARED_REST : OWN)
          const prompt = new Int32Array(beginning.length + rest)
          prompt.set(beginning)
          herds.fill(prompt, beginning.length)
          const answer = herds.tokens(herds.length(ANSWER))
          load.at(atMs + herds.share() * WITHIN_MS, () => load.send({ prompt, answer }))
        }
      }
      const draw = load.draw(CONTENT)
      poisson(
        load,
        load.draw(ARRIVALS),
        () => OTHERS_PER_SECOND,
        () => {
          if (load.nowMs() >= LAST_MS) return
          const prompt = draw.tokens(draw.length(OTHERS))
          load.send({ prompt, answer: draw.tokens(draw.length(ANSWER)) })
        },
      )
    },
  }),
}
