import { Conversation } from '../conversation.ts'
import type { Draw, Length } from '../draw.ts'
import { type Load, poisson, type WorkloadKind } from '../workload.ts'

/** Nothing here was looked at when the shipped weights were chosen; seeds, too, are its own. */
const OWN_SEEDS = 7_000_000
const ENGINES = 6
/** Tenants, the first the busiest. */
const TENANTS = 40
const SYSTEM: Length = { mean: 3500, variation: 0.7, least: 300, most: 16_000 }
/** Shares of what arrives: chats with a tenant's system prompt, long documents, short questions without any. */
const CHATS = 0.45
const DOCUMENTS = 0.2
const CHAT_TURNS = [1, 7] as const
const CHAT_QUESTION: Length = { mean: 350, variation: 1.2, least: 10, most: 6000 }
const CHAT_ANSWER: Length = { mean: 280, variation: 0.9, least: 5, most: 2500 }
const DOCUMENT: Length = { mean: 14_000, variation: 0.8, least: 1500, most: 90_000 }
const DOCUMENT_QUESTION: Length = { mean: 120, variation: 0.6, least: 10, most: 800 }
const DOCUMENT_QUESTIONS = [1, 4] as const
const DOCUMENT_ANSWER: Length = { mean: 450, variation: 0.7, least: 30, most: 2000 }
const QUESTION: Length = { mean: 700, variation: 1, least: 20, most: 8000 }
const ANSWER: Length = { mean: 180, variation: 1, least: 1, most: 1500 }
const READING_MS = 9000
/** The rate goes up and down by this share in this time. */
const SWING = 0.4
const SWING_MS = 75_000

const SYSTEMS = 1
const ARRIVALS = 2
const VISITORS = 1000

/** A mix of tenants that chat, ask about documents, and ask alone, with a rate that swings. */
export const heldOut: WorkloadKind = {
  name: 'held-out',
  description:
    'tenants that chat, read documents and ask alone, under a rate that swings; 6 engines',
  rateUnit: 'visitors/s',
  rates: [2.5, 4.5, 7],
  at: (perSecond) => ({
    name: 'held-out',
    engines: ENGINES,
    warmUpMs: 60_000,
    horizonMs: 240_000,
    start(load) {
      const draw = load.draw(OWN_SEEDS + SYSTEMS)
      const systems = Array.from({ length: TENANTS }, () => draw.tokens(draw.length(SYSTEM)))
      let visitors = 0
      poisson(
        load,
        load.draw(OWN_SEEDS + ARRIVALS),
        (atMs) => perSecond * (1 + SWING * Math.sin((2 * Math.PI * atMs) / SWING_MS)),
        () => visit(load, load.draw(OWN_SEEDS + VISITORS + visitors++), systems),
      )
    },
  }),
}

function visit(load: Load, draw: Draw, systems: readonly Int32Array[]): void {
  const kind = draw.share()
  if (kind < CHATS) {
    const system = systems[Math.floor(TENANTS * draw.share() ** 2)]!
    converse(load, draw, system, draw.whole(...CHAT_TURNS), CHAT_QUESTION, CHAT_ANSWER)
  } else if (kind < CHATS + DOCUMENTS) {
    const document = draw.tokens(draw.length(DOCUMENT))
    const questions = draw.whole(...DOCUMENT_QUESTIONS)
    converse(load, draw, document, questions, DOCUMENT_QUESTION, DOCUMENT_ANSWER)
  } else converse(load, draw, new Int32Array(0), 1, QUESTION, ANSWER)
}

function converse(
  load: Load,
  draw: Draw,
  beginning: Int32Array,
  turns: number,
  question: Length,
  answer: Length,
): void {
  const text = new Conversation(draw, beginning)
  const turn = () => {
    if (turns-- === 0 || load.nowMs() >= load.horizonMs) return
    text.grow(draw.length(question))
    const prompt = text.part(0)
    text.grow(draw.length(answer))
    load.send({
      prompt,
      answer: text.part(prompt.length),
      answered: () => load.at(load.nowMs() + draw.pause(READING_MS), turn),
    })
  }
  turn()
}
