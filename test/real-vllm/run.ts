import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Envoy } from '../e2e/envoy.ts'
import { Epp } from '../e2e/epp.ts'
import { type Answer, post } from '../e2e/openai-client.ts'
import { eventually, Process } from '../e2e/process.ts'
import { tokenizersDir } from '../fixtures.ts'
import { conversations, type Turn } from './conversations.ts'

/** Two releases of vLLM, with the flags that their documents show. */
const ENGINES = [
  { version: '0.32.0', algorithm: 'sha256_cbor', bind: 'nobind' },
  { version: '0.10.0.post2', algorithm: 'sha256_cbor_64bit', bind: 'all' },
] as const
const MODEL = 'Qwen3-32B'
const ADDRESSES = ['127.0.0.2', '127.0.0.3']
const TOOLS = '--enable-auto-tool-choice --tool-call-parser hermes'
/** Loading torch takes most of it. */
const START_MS = 300_000

interface EndpointPage {
  readonly blocks: number
  readonly state: string
}
interface DecisionPage {
  readonly promptTokens?: { readonly count: number; readonly exact: boolean }
  readonly predictedCachedTokens?: number
}
interface Result {
  readonly kind: string
  readonly status: number
  readonly problem: string | undefined
  readonly exact: boolean
}

const folder = (version: string) => resolve(`.cache/vllm-${version}`)
const model = resolve('.cache/tiny-qwen3')

function prepare(version: string): void {
  const here = 'test/real-vllm'
  const run = (command: string, args: readonly string[]) => {
    const { status } = spawnSync(command, args, { stdio: 'inherit' })
    if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`)
  }
  if (!existsSync(join(folder(version), 'bin/vllm'))) {
    console.log(`Installing vLLM ${version} (about 7 GB, some minutes)`)
    run('bash', [`${here}/setup.sh`, folder(version), version])
    if (version.startsWith('0.10.')) run('python3', [`${here}/old-libstdcxx.py`, folder(version)])
  }
  if (existsSync(model)) return
  run(join(folder(version), 'bin/python'), [
    `${here}/make_model.py`,
    join(tokenizersDir(), 'qwen3'),
    model,
  ])
}

/** The engines of one release behind the picker and Envoy; every request one after the other. */
async function judge(engine: (typeof ENGINES)[number]): Promise<readonly Result[]> {
  const engines: Process[] = []
  let epp: Epp | undefined
  let envoy: Envoy | undefined
  try {
    epp = await Epp.start([
      ...ADDRESSES.flatMap((address, i) => ['--endpoint', `vllm-${i}=${address}:8000`]),
      ...['--tokenizers-dir', tokenizersDir(), '--config-file', configFile()],
    ])
    for (const address of ADDRESSES) {
      engines.push(
        new Process(`vllm ${address}`, 'bash', ['test/real-vllm/start-engine.sh'], {
          VENV: folder(engine.version),
          MODEL: model,
          HOST: address,
          PORT: '8000',
          NAME: MODEL,
          EVENTS: 'tcp://127.0.0.1:5557',
          REPLAY: '',
          TOPIC: `kv@${address}@${MODEL}`,
          ALGO: engine.algorithm,
          BIND: engine.bind,
          EXTRA: TOOLS,
        }),
      )
    }
    for (const [i, process] of engines.entries()) {
      await eventually(
        `vLLM ${engine.version} serves at ${ADDRESSES[i]}`,
        async () => {
          if (process.exitCode !== undefined) throw new Error(process.stderr)
          return (await fetch(`http://${ADDRESSES[i]}:8000/health`)).ok || undefined
        },
        START_MS,
      )
    }
    envoy = await Envoy.start(epp.ports.grpc)
    const picker = epp
    await eventually('every endpoint is scraped', async () =>
      (await picker.json<EndpointPage[]>('/endpoints')).every(({ state }) => state === 'scraped'),
    )
    const results: Result[] = []
    for (const conversation of conversations(engine.version)) {
      let answer: Answer | undefined
      for (;;) {
        const turn: Turn | undefined = conversation.next(answer?.body)
        if (turn === undefined) break
        const id = `${conversation.kind}-${results.length}`.replaceAll(' ', '-')
        answer = await post(`${envoy.url}${turn.path}`, JSON.stringify(turn.body), {
          'x-request-id': id,
        })
        results.push(await resultOf(picker, conversation.kind, id, answer))
        await settled(picker)
      }
    }
    return results
  } finally {
    await envoy?.stop()
    await epp?.stop()
    await Promise.all(engines.map((process) => process.stop('SIGINT')))
  }
}

function configFile(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'epp-vllm-')), 'epp.yaml')
  writeFileSync(
    file,
    `schedulingProfiles:
  - name: default
    plugins:
      - type: precise-prefix-cache-scorer
        weight: 3
        parameters: { tokenProcessorConfig: { blockSize: 64, hashSeed: 42 } }
      - { type: queue-scorer, weight: 1 }
`,
  )
  return file
}

async function resultOf(epp: Epp, kind: string, id: string, answer: Answer): Promise<Result> {
  const { promptTokens, predictedCachedTokens = 0 } = await epp.json<DecisionPage>(
    `/decisions/${id}`,
  )
  const exact = promptTokens?.exact === true
  const said = promptTokens === undefined ? 'no tokens' : `${promptTokens.count} tokens`
  let problem: string | undefined
  if (answer.status !== 200) problem = `status ${answer.status}: ${answer.body.slice(0, 200)}`
  else {
    const { prompts, cached } = counted(answer)
    if (promptTokens?.count !== prompts) problem = `${said}, the engine counts ${prompts}`
    // Of several prompts vLLM reports the last one's cached tokens only.
    else if (!kind.startsWith('several') && predictedCachedTokens !== cached) {
      problem = `${predictedCachedTokens} cached tokens predicted, the engine had ${cached}`
    }
  }
  return { kind, status: answer.status, problem, exact }
}

/** What the engine counted, in the words of the three APIs. */
function counted(answer: Answer): { readonly prompts: number; readonly cached: number } {
  const usage = (answer.usage ?? {}) as Readonly<Record<string, unknown>>
  const details = (usage.prompt_tokens_details ?? usage.input_tokens_details) as
    | { readonly cached_tokens?: number }
    | undefined
    | null
  const fresh = Number(usage.prompt_tokens ?? usage.input_tokens)
  const read = usage.cache_read_input_tokens
  if (typeof read === 'number') {
    // Anthropic's API counts cached tokens apart, and those that were written.
    return { prompts: fresh + read + Number(usage.cache_creation_input_tokens ?? 0), cached: read }
  }
  return { prompts: fresh, cached: details?.cached_tokens ?? 0 }
}

/** Waits until no more events come in: the engine sends them up to a step after the answer. */
async function settled(epp: Epp): Promise<void> {
  let before = -1
  for (let same = 0; same < 3; ) {
    const pages = await epp.json<EndpointPage[]>('/endpoints')
    const blocks = pages.reduce((sum, { blocks }) => sum + blocks, 0)
    same = blocks === before ? same + 1 : 0
    before = blocks
    await sleep(60)
  }
}

function print(version: string, results: readonly Result[]): number {
  const kinds = [...new Set(results.map(({ kind }) => kind))]
  console.log(`\nvLLM ${version}: ${results.length} requests`)
  for (const kind of kinds) {
    const all = results.filter((result) => result.kind === kind)
    const right = all.filter(({ problem }) => problem === undefined)
    const exact = all.every((result) => result.exact) ? '' : ', not called exact'
    console.log(`  ${kind}: ${right.length} of ${all.length}${exact}`)
    for (const { problem } of all) if (problem !== undefined) console.log(`      ${problem}`)
  }
  const wrong = results.filter(({ problem }) => problem !== undefined).length
  console.log(`  cached tokens predicted exactly: ${results.length - wrong} of ${results.length}`)
  return wrong
}

const only = process.argv[2]
let wrong = 0
for (const engine of ENGINES) {
  if (only !== undefined && !engine.version.startsWith(only)) continue
  prepare(engine.version)
  const results = await judge(engine)
  assert.ok(results.length >= 60, `only ${results.length} requests`)
  wrong += print(engine.version, results)
}
process.exitCode = wrong === 0 ? 0 : 1
