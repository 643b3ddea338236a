import { Conversation } from '../conversation.ts'
import { type Load, poisson, type WorkloadKind } from '../workload.ts'

const PRODUCTS = 4
const SYSTEM_TOKENS = 6016
const FIRST_QUESTION = { mean: 3000, variation: 1, least: 200, most: 30_000 }
const ANSWER = { mean: 250, variation: 1, least: 10, most: 2000 }
/** What a tool gives back. */
const RESULT = { mean: 1500, variation: 1, least: 50, most: 20_000 }
const TURNS = [3, 12] as const
const TOOL_MS = 1500
const FAN_OUT_SHARE = 0.25
const FAN_OUT = [3, 8] as const
const TASK = { mean: 800, variation: 0.7, least: 50, most: 6000 }
const TASK_ANSWER = { mean: 300, variation: 0.8, least: 10, most: 1500 }
/** Sub-agents are sent off one after the other. */
const BETWEEN_TASKS_MS = 1

const SYSTEM = 10
const ARRIVALS = 2
const SESSIONS = 1000

/** Agents: turns with tools between them, of which every fourth sends off sub-agents that share its beginning. */
export const agentic: WorkloadKind = {
  name: 'agentic',
  description: 'agents that call tools in turn and send off 3 to 8 sub-agents now and then',
  rateUnit: 'sessions/s',
  rates: [0.6, 1.2, 2],
  at: (perSecond) => ({
    name: 'agentic',
    engines: 8,
    warmUpMs: 100_000,
    horizonMs: 300_000,
    start(load) {
      const systems = Array.from({ length: PRODUCTS }, (_, i) =>
        load.draw(SYSTEM + i).tokens(SYSTEM_TOKENS),
      )
      let sessions = 0
      poisson(
        load,
        load.draw(ARRIVALS),
        () => perSecond,
        () => session(load, systems, SESSIONS + sessions++),
      )
    },
  }),
}

function session(load: Load, systems: readonly Int32Array[], stream: number): void {
  const draw = load.draw(stream)
  // Some products are used more than others.
  const system = systems[Math.floor(draw.share() * draw.share() * PRODUCTS)]!
  const text = new Conversation(draw, system)
  text.grow(draw.length(FIRST_QUESTION))
  let turns = draw.whole(...TURNS)
  const turn = () => {
    if (turns-- === 0 || load.nowMs() >= load.horizonMs) return
    const prompt = text.part(0)
    text.grow(draw.length(ANSWER))
    load.send({
      prompt,
      answer: text.part(prompt.length),
      answered: () => (draw.share() < FAN_OUT_SHARE ? fanOut() : callTool()),
    })
  }
  const callTool = () => {
    text.grow(draw.length(RESULT))
    load.at(load.nowMs() + draw.pause(TOOL_MS), turn)
  }
  const fanOut = () => {
    const tasks = draw.whole(...FAN_OUT)
    let left = tasks
    for (let i = 0; i < tasks; i++) {
      const task = new Conversation(draw, text.part(0))
      task.grow(draw.length(TASK))
      const prompt = task.part(0)
      task.grow(draw.length(TASK_ANSWER))
      load.at(load.nowMs() + i * BETWEEN_TASKS_MS, () =>
        load.send({
          prompt,
          answer: task.part(prompt.length),
          answered: () => {
            if (--left === 0) callTool()
          },
        }),
      )
    }
  }
  turn()
}
