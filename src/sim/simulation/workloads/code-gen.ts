import { Conversation } from '../conversation.ts'
import type { Load, WorkloadKind } from '../workload.ts'

const SYSTEM_TOKENS = 8000
const FIRST_PROMPT = { mean: 42_000, variation: 0.5, least: 12_000, most: 120_000 }
const ANSWER = { mean: 500, variation: 0.8, least: 20, most: 3000 }
const NEXT_QUESTION = { mean: 4500, variation: 1, least: 200, most: 30_000 }
const LONGEST_PROMPT = 200_000
const TURNS = [2, 20] as const
const THINK_MS = 4000
const BETWEEN_SESSIONS_MS = 1000
/** People begin one after the other in this time. */
const ALL_BEGIN_MS = 60_000

const SYSTEM = 1
const PEOPLE = 1000
/** More sessions than anybody has. */
const SESSIONS_EACH = 1000

/** People who write code with an assistant, each with one session after the other: prompts of about 70,000 tokens. */
export const codeGen: WorkloadKind = {
  name: 'code-gen',
  description:
    'sessions of 2 to 20 turns whose prompts grow to about 70,000 tokens, one per person',
  rateUnit: 'people',
  rates: [20, 40, 70],
  at: (people) => ({
    name: 'code-gen',
    engines: 10,
    warmUpMs: 150_000,
    horizonMs: 500_000,
    start(load) {
      const system = load.draw(SYSTEM).tokens(SYSTEM_TOKENS)
      for (let i = 0; i < people; i++) {
        const firstMs = (i * ALL_BEGIN_MS) / people
        load.at(firstMs, () => session(load, system, PEOPLE + i * SESSIONS_EACH))
      }
    },
  }),
}

/** @param stream of this person's draws; the next session has the next one */
function session(load: Load, system: Int32Array, stream: number): void {
  const draw = load.draw(stream)
  const text = new Conversation(draw, system)
  text.grow(Math.max(0, draw.length(FIRST_PROMPT) - SYSTEM_TOKENS))
  let turns = draw.whole(...TURNS)
  const after = (pauseMs: number, run: () => void) => {
    const atMs = load.nowMs() + draw.pause(pauseMs)
    if (atMs < load.horizonMs) load.at(atMs, run)
  }
  const turn = () => {
    if (turns-- === 0 || text.length > LONGEST_PROMPT) {
      after(BETWEEN_SESSIONS_MS, () => session(load, system, stream + 1))
      return
    }
    const prompt = text.part(0)
    text.grow(draw.length(ANSWER))
    load.send({
      prompt,
      answer: text.part(prompt.length),
      answered: () => {
        text.grow(draw.length(NEXT_QUESTION))
        after(THINK_MS, turn)
      },
    })
  }
  turn()
}
