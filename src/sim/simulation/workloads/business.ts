import type { Draw } from '../draw.ts'
import { type Load, poisson, type Workload, type WorkloadKind } from '../workload.ts'

/** Customers with a system prompt each, whose users ask one question each, over and over. */
interface Business {
  readonly customers: number
  readonly usersPerCustomer: number
  readonly systemTokens: number
  readonly questionTokens: number
  /** Every answer has so many tokens, or so many on average. */
  readonly answer: { readonly fixed: number } | { readonly mean: number }
}

/**
 * The shape of llm-d's benchmark of September 2025: 150 customers of 5 users, 6,000 tokens of system prompt, 1,200 of
 * question, 1,000 of answer; the 750 prompts take 73 % of what eight engines hold.
 */
const PUBLISHED: Business = {
  customers: 150,
  usersPerCustomer: 5,
  systemTokens: 6000,
  questionTokens: 1200,
  answer: { fixed: 1000 },
}
/** Answers as the published tokens and requests per second imply them: they end before their limit. */
const SHORT_ANSWERS: Business = { ...PUBLISHED, answer: { mean: 220 } }
const SHORT = { variation: 0.6, least: 16, most: 1000 }

const CONTENT = 1
const ARRIVALS = 2
const CHOICES = 3

/** Requests per second, and for how many seconds. */
type Stage = readonly [perSecond: number, seconds: number]
/** 15 a second for 50 s to warm up, then the ramp of the published benchmark. */
const PUBLISHED_RAMP: readonly Stage[] = [
  [15, 50],
  ...[3, 10, 15, 20, 22, 25, 30, 35, 40, 43, 46, 49, 52, 55, 57, 60].map(
    (perSecond): Stage => [perSecond, perSecond < 20 ? 38 : perSecond < 40 ? 30 : 20],
  ),
]

function start(business: Business, load: Load, perSecond: (atMs: number) => number): void {
  const prompts = promptsOf(business, load.draw(CONTENT))
  const choices = load.draw(CHOICES)
  const { answer } = business
  poisson(load, load.draw(ARRIVALS), perSecond, () => {
    const prompt = prompts[choices.whole(0, prompts.length - 1)]!
    const length =
      'fixed' in answer ? answer.fixed : choices.length({ mean: answer.mean, ...SHORT })
    load.send({ prompt, answer: choices.tokens(length) })
  })
}

function promptsOf(business: Business, draw: Draw): readonly Int32Array[] {
  const { customers, usersPerCustomer, systemTokens, questionTokens } = business
  return Array.from({ length: customers }, () => {
    const system = draw.tokens(systemTokens)
    return Array.from({ length: usersPerCustomer }, () => {
      const prompt = new Int32Array(systemTokens + questionTokens)
      prompt.set(system)
      draw.fill(prompt, systemTokens)
      return prompt
    })
  }).flat()
}

function steady(name: string, business: Business, perSecond: number): Workload {
  return {
    name,
    engines: 8,
    warmUpMs: 60_000,
    horizonMs: 180_000,
    start: (load) => start(business, load, () => perSecond),
  }
}

export const b2b: WorkloadKind = {
  name: 'b2b',
  description:
    '150 customers of 5 users: 6,000 tokens of system prompt, 1,200 asked, 1,000 answered',
  rateUnit: 'requests/s',
  rates: [8, 13, 17],
  at: (perSecond) => steady('b2b', PUBLISHED, perSecond),
}

export const b2bShort: WorkloadKind = {
  name: 'b2b-short',
  description: 'the same with answers of about 220 tokens',
  rateUnit: 'requests/s',
  rates: [20, 40, 60],
  at: (perSecond) => steady('b2b-short', SHORT_ANSWERS, perSecond),
}

export const q1: WorkloadKind = {
  name: 'q1',
  description:
    "b2b-short through llm-d's published ramp of 3 to 60 requests/s; the rate is a factor",
  rateUnit: 'times',
  rates: [1],
  at: (factor) => {
    const seconds = PUBLISHED_RAMP.reduce((sum, [, each]) => sum + each, 0)
    return {
      name: 'q1',
      engines: 8,
      warmUpMs: PUBLISHED_RAMP[0]![1] * 1000,
      horizonMs: seconds * 1000,
      start: (load) => start(SHORT_ANSWERS, load, (atMs) => factor * rampAt(atMs)),
    }
  },
}

function rampAt(atMs: number): number {
  let endMs = 0
  for (const [perSecond, seconds] of PUBLISHED_RAMP) {
    endMs += seconds * 1000
    if (atMs < endMs) return perSecond
  }
  return PUBLISHED_RAMP.at(-1)![0]
}
