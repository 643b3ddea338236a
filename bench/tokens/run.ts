// What exact token ids cost: reading a chat's body, rendering and encoding it with a local tokenizer. CPU of the main
// thread and of all threads, of what has been built (`npm run build`) in this tree and, with `--against`, in another one,
// in turn; and the longest time that the event loop is held up, in CPU as well.
//
//   npm run bench -- tokens [--against PATH_OF_ANOTHER_TREE] [--rounds 11] [--only REGEX] [--profile FILE]
//
// `new` are chats of three sizes, of which half is common to all and half is new. `turn N+1` adds 500 tokens to a
// conversation of 90,000 or more; `first turn` begins one of 500. Linux only: CPU is read from /proc.
import { openSync, readSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { Attributes } from '../../src/framework/attributes.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { InferenceRequest, Prompt } from '../../src/framework/request.ts'
import type { PromptTokenizer } from '../../src/tokenize/prompt-tokenizer.ts'
import { tokenizersDir } from '../../test/fixtures.ts'
import { type Figure, report } from '../figures.ts'
import { bodyOf, type Message, Texts } from './texts.ts'

const { values: options } = parseArgs({
  options: {
    against: { type: 'string' },
    rounds: { type: 'string', default: '11' },
    only: { type: 'string', default: '.' },
    profile: { type: 'string' },
  },
})

const MODEL = 'qwen3'
/** Characters of a chat, and how many of them are sent in a round, so many at a time. */
const SIZES = [
  { name: '0.5 KB', characters: 500, count: 96, together: 16 },
  { name: '24 KB', characters: 24_000, count: 32, together: 8 },
  { name: '400 KB', characters: 400_000, count: 4, together: 2 },
] as const
const LONG_TOKENS = 90_000
const TURNS = 4
const FIRST_TURNS = 16
const WARM_ROUNDS = 3

interface Tree {
  readonly name: string
  readonly tokenizer: PromptTokenizer
  parse(body: Buffer): Prompt
}

async function treeAt(name: string, root: string): Promise<Tree> {
  const load = (path: string) => import(pathToFileURL(resolve(root, 'dist', path)).href)
  const { openAiApi } = await load('openai/openai-api.js')
  const { PromptTokenizer: Made } = await load('tokenize/prompt-tokenizer.js')
  const nothing = () => {}
  const quiet = { debug: nothing, info: nothing, warn: nothing, error: nothing, warnOnce: nothing }
  const logger: object = { ...quiet, named: () => logger }
  const tokenizer = new Made({
    tokenizersDir: tokenizersDir(),
    models: { baseOf: () => undefined },
    clock: { nowMs: () => performance.now(), epochMs: () => Date.now() },
    logger,
    metrics: {
      counter: () => ({ inc: nothing }),
      histogram: () => ({ observe: nothing }),
      observed: nothing,
    },
    notices: { set: nothing, list: () => [] },
    budgetMs: 60_000,
  })
  await tokenizer.prepare()
  const headers = new Map<string, string>()
  return {
    name,
    tokenizer,
    parse: (body) => openAiApi.parse('/v1/chat/completions', headers, [body]).prompt,
  }
}

function requestOf(prompt: Prompt, bodyBytes: number): InferenceRequest {
  return {
    ...{ id: 'r', path: '/v1/chat/completions', headers: new Map(), model: MODEL },
    ...{ targetModel: MODEL, criticality: 'Standard', priority: 0, prompt, cacheSalt: undefined },
    ...{ maxOutputTokens: undefined, stream: true, bodyBytes, attributes: new Attributes() },
  }
}

/** How many tokens the bodies have, all sent in one moment. */
async function tokensOf({ parse, tokenizer }: Tree, bodies: readonly Buffer[]): Promise<number> {
  const all = await Promise.all(
    bodies.map((body) =>
      tokenizer.tokenize(requestOf(parse(body), body.length), new Cancellation()),
    ),
  )
  let tokens = 0
  for (const { prompts, exact, reason } of all) {
    if (!exact) throw new Error(`not exact: ${reason}`)
    tokens += prompts[0]!.length
  }
  return tokens
}

const schedstat = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
const said = Buffer.alloc(64)
const never = new Int32Array(new SharedArrayBuffer(4))

/** CPU of the main thread so far, in microseconds. The kernel brings it up to date when the thread goes to sleep. */
function mainUs(): number {
  Atomics.wait(never, 0, 0, 0.01)
  readSync(schedstat, said, 0, said.length, 0)
  return Number.parseInt(said.toString('latin1'), 10) / 1000
}

interface Cost {
  readonly main: number
  readonly all: number
}

/** CPU microseconds of one of `count`. */
async function cost(count: number, run: () => Promise<unknown>): Promise<Cost> {
  const before = process.cpuUsage()
  const from = mainUs()
  await run()
  const main = mainUs() - from
  const { user, system } = process.cpuUsage(before)
  return { main: main / count, all: (user + system) / count }
}

/** The longest time between two turns of the event loop while something runs, in CPU milliseconds of the main thread. */
async function longestPauseMs(run: () => Promise<unknown>): Promise<number> {
  let longestUs = 0
  let last = mainUs()
  let isRunning = true
  const watch = (): void => {
    const now = mainUs()
    longestUs = Math.max(longestUs, now - last)
    last = now
    if (isRunning) setImmediate(watch)
  }
  setImmediate(watch)
  await run()
  await new Promise((then) => setImmediate(then))
  isRunning = false
  return longestUs / 1000
}

/** Everything that is measured, with texts of its own for each tree, alike for all trees. */
class Cases {
  readonly #tree: Tree
  readonly #texts = new Texts(11)
  readonly #shared = SIZES.map(({ characters }) => this.#texts.text(characters / 2))
  #long: Message[] = []

  constructor(tree: Tree) {
    this.#tree = tree
  }

  async half(size: number): Promise<Cost> {
    const { characters, count, together } = SIZES[size]!
    const bodies = Array.from({ length: count }, () =>
      bodyOf([
        { role: 'system', content: this.#shared[size]! },
        { role: 'user', content: this.#texts.text(characters / 2) },
      ]),
    )
    return cost(count, async () => {
      for (let at = 0; at < count; at += together) {
        await tokensOf(this.#tree, bodies.slice(at, at + together))
      }
    })
  }

  /** A conversation of its own in each round. */
  async begin(): Promise<void> {
    this.#long = this.#texts.conversation(LONG_TOKENS)
    await tokensOf(this.#tree, [bodyOf(this.#long)])
  }

  async turns(): Promise<Cost> {
    const bodies = Array.from({ length: TURNS }, () => {
      this.#texts.turn(this.#long)
      return bodyOf(this.#long)
    })
    return this.#oneByOne(bodies)
  }

  async firsts(): Promise<Cost> {
    return this.#oneByOne(
      Array.from({ length: FIRST_TURNS }, () => bodyOf(this.#texts.conversation(500))),
    )
  }

  async copies(): Promise<Cost> {
    const body = bodyOf(this.#long)
    return cost(20, async () => {
      for (let i = 0; i < 20; i++) Buffer.from(body)
    })
  }

  async pauseOfTurn(): Promise<number> {
    this.#texts.turn(this.#long)
    const body = bodyOf(this.#long)
    return longestPauseMs(() => tokensOf(this.#tree, [body]))
  }

  async pauseOfNew(): Promise<number> {
    const body = bodyOf([{ role: 'user', content: this.#texts.text(400_000) }])
    return longestPauseMs(() => tokensOf(this.#tree, [body]))
  }

  async pauseOfNewConversation(): Promise<number> {
    const body = bodyOf(this.#texts.conversation(100_000))
    return longestPauseMs(() => tokensOf(this.#tree, [body]))
  }

  async #oneByOne(bodies: readonly Buffer[]): Promise<Cost> {
    return cost(bodies.length, async () => {
      for (const body of bodies) await tokensOf(this.#tree, [body])
    })
  }
}

const trees = [await treeAt('this', fileURLToPath(new URL('../..', import.meta.url)))]
if (options.against !== undefined) trees.push(await treeAt('other', options.against))
const cases = trees.map((tree) => ({ name: tree.name, of: new Cases(tree) }))
const found = new Map<string, number[]>()
const keep = (name: string, value: number): void => {
  found.set(name, [...(found.get(name) ?? []), value])
}
const only = new RegExp(options.only)

async function round(isWarm: boolean, tree: string, of: Cases): Promise<void> {
  const add = (name: string, value: number): void => {
    if (isWarm) keep(`${tree} ${name}`, value)
  }
  const addCost = (name: string, { main, all }: Cost): void => {
    add(`${name}, main`, main)
    add(`${name}, all`, all)
  }
  for (const [i, { name }] of SIZES.entries()) {
    if (only.test(`new ${name}`)) addCost(`new ${name}`, await of.half(i))
  }
  if (only.test('turn')) {
    await of.begin()
    const copy = await of.copies()
    const first = await of.firsts()
    const turn = await of.turns()
    addCost('copy', copy)
    addCost('first turn', first)
    addCost('turn N+1', turn)
    add('ratio', (turn.all - copy.all) / first.all)
    add('pause of turn N+1', await of.pauseOfTurn())
  }
  if (only.test('pause')) {
    add('pause of new text', await of.pauseOfNew())
    add('pause of new conversation', await of.pauseOfNewConversation())
  }
}

const session = new Session()
session.connect()
const rounds = Number(options.rounds)
for (let i = -WARM_ROUNDS; i < rounds; i++) {
  if (i === 0 && options.profile !== undefined) {
    await session.post('Profiler.enable')
    await session.post('Profiler.start')
  }
  for (const { name, of } of i % 2 === 0 ? cases : cases.toReversed()) await round(i >= 0, name, of)
}
if (options.profile !== undefined) {
  const { profile } = await session.post('Profiler.stop')
  writeFileSync(options.profile, JSON.stringify(profile))
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!
const summary = (key: string): number => {
  const values = found.get(key)!
  return key.includes('pause') ? Math.max(...values) : median(values)
}
const LIMITS: Readonly<Record<string, number>> = {
  'pause of turn N+1': 10,
  'pause of new text': 10,
  'pause of new conversation': 10,
}
const unitOf = (name: string) => (name === 'ratio' ? 'x' : name.startsWith('pause') ? 'ms' : 'us')
const names = [...found.keys()].filter((key) => key.startsWith('this ')).map((key) => key.slice(5))
if (trees.length > 1) {
  console.log('| | this | other | other / this |\n|---|---|---|---|')
  for (const name of names) {
    const [here, there] = [summary(`this ${name}`), summary(`other ${name}`)]
    const cells = [name, here.toPrecision(4), there.toPrecision(4), (there / here).toPrecision(3)]
    console.log(`| ${cells.join(' | ')} |`)
  }
}
const figures: Figure[] = names.map((name) => {
  const limit = LIMITS[name]
  const value = summary(`this ${name}`)
  return { name, unit: unitOf(name), value, ...(limit !== undefined && { limit }) }
})
report('tokens', figures)
process.exit()
