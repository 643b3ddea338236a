// What the bytes of a request cost before its pick: reading the body, estimating its tokens, naming its blocks. CPU time,
// tokens and keys of chats of three sizes whose first half all share, as `bench/epp` sends them; of what has been built
// (`npm run build`) in this tree and, with `--against`, in another one, in turn.
//
//   npm run bench -- body [--against PATH_OF_ANOTHER_TREE] [--rounds 15]
//
// The table goes to stdout, the rows to bench/out/body.json.
import { mkdirSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { seededRandom } from '../../src/framework/random.ts'
import type { Prompt } from '../../src/framework/request.ts'
import { report } from '../figures.ts'

const { values: options } = parseArgs({
  options: { against: { type: 'string' }, rounds: { type: 'string', default: '15' } },
})

const PATH = '/v1/chat/completions'
const SIZES = [500, 24_000, 400_000]
const ROUND_BYTES = 12_000_000
const BODIES = 16
const BLOCK_TOKENS = 64
const WORDS =
  'the of request latency model prefix cache token and to in block server tracking router queue'.split(
    ' ',
  )

type Step = 'read' | 'tokens' | 'keys'
const STEPS: readonly Step[] = ['read', 'tokens', 'keys']

/** What one tree does in each step; each step does those before it too. */
interface Tree {
  readonly name: string
  readonly steps: Readonly<Record<Step, (body: Buffer) => unknown>>
}

async function treeAt(name: string, root: string): Promise<Tree> {
  const load = (path: string) => import(pathToFileURL(resolve(root, 'dist', path)).href)
  const { openAiApi } = await load('openai/openai-api.js')
  const { estimateTokens } = await load('tokenize/estimate.js')
  const { ChainHasher } = await load('kvcache/hashing/chain-hash.js')
  const { RequestKeys } = await load('kvcache/hashing/request-keys.js')
  const keys = new RequestKeys(new ChainHasher())
  const noHeaders = new Map<string, string>()
  const read = (body: Buffer): Prompt => openAiApi.parse(PATH, noHeaders, [body]).prompt
  const tokens = (body: Buffer) => ({ prompts: estimateTokens(read(body)), exact: false })
  return {
    name,
    steps: {
      read,
      tokens,
      keys: (body) => keys.of(tokens(body), BLOCK_TOKENS, 'bench-model', undefined).pairs,
    },
  }
}

/** Chats of that size, alike in their first half. */
function bodiesOf(size: number): readonly Buffer[] {
  const random = seededRandom(7)
  const prose = (bytes: number): string => {
    let text = ''
    for (let line = 0; text.length < bytes; ) {
      const word = WORDS[Math.floor(random.next() * WORDS.length)]!
      line += word.length + 1
      text += line > 90 ? `${word}.\n` : random.next() < 1 / 60 ? `${word} "q" ` : `${word} `
      if (line > 90) line = 0
    }
    return text.slice(0, bytes)
  }
  // Escapes and the frame take some of it.
  const half = Math.max(1, Math.floor((size - 150) * 0.48))
  const shared = prose(half)
  return Array.from({ length: BODIES }, () =>
    Buffer.from(
      JSON.stringify({
        ...{ model: 'bench-model', stream: true, max_tokens: 64 },
        messages: [
          { role: 'system', content: shared },
          { role: 'user', content: prose(half) },
        ],
      }),
    ),
  )
}

/** CPU microseconds of one call. */
function cpuUs(run: (body: Buffer) => unknown, bodies: readonly Buffer[], count: number): number {
  const before = process.cpuUsage()
  for (let i = 0; i < count; i++) run(bodies[i % bodies.length]!)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

const here = fileURLToPath(new URL('../..', import.meta.url))
const trees = [await treeAt('this', here)]
if (options.against !== undefined) trees.push(await treeAt('other', options.against))

const rows: { tree: string; bytes: number; step: Step; us: number }[] = []
console.log(`| bytes | up to | ${trees.map(({ name }) => `${name}, CPU µs`).join(' | ')} |`)
console.log(`|---|---|${'---|'.repeat(trees.length)}`)
for (const size of SIZES) {
  const bodies = bodiesOf(size)
  const count = Math.max(20, Math.floor(ROUND_BYTES / size / 4))
  for (const step of STEPS) {
    const found = trees.map((): number[] => [])
    for (let round = 0; round < Number(options.rounds); round++) {
      for (const [t, tree] of trees.entries()) {
        const us = cpuUs(tree.steps[step], bodies, count)
        // The first rounds warm the code up.
        if (round >= 3) found[t]!.push(us)
      }
    }
    const medians = found.map(median)
    for (const [t, { name }] of trees.entries()) {
      rows.push({ tree: name, bytes: size, step, us: medians[t]! })
    }
    console.log(`| ${[size, step, ...medians.map((us) => us.toFixed(1))].join(' | ')} |`)
  }
}
const out = fileURLToPath(new URL('../out', import.meta.url))
mkdirSync(out, { recursive: true })
report(
  'body',
  rows
    .filter(({ tree }) => tree === rows[0]?.tree)
    .map(({ bytes, step, us }) => ({
      name: `${bytes} bytes, up to ${step}`,
      unit: 'us',
      value: us,
    })),
)
writeFileSync(`${out}/body.json`, `${JSON.stringify(rows, null, 2)}\n`)
