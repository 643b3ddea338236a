import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inMebibytes, MEBIBYTE, residentBytes } from '../integration/memory.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { eventually, type Process } from './process.ts'

const MODEL = 'Qwen3-32B'
const ADDRESSES = ['127.0.74.1', '127.0.74.2', '127.0.74.3'] as const
const REQUESTS_PER_SECOND = 300
const WRITES = 200
/** Reloads after which everything that is made once has been made. */
const WARM_WRITES = 40
/** Requests after which the picker's memory of past decisions is full. */
const WARM_REQUESTS = 1500
const MAX_P99_MS = 1000
const MAX_HEAP_GROWTH_BYTES = 10 * MEBIBYTE
const MAX_RESIDENT_GROWTH_BYTES = 96 * MEBIBYTE
const STREAM_TOKENS = 1000
const GENERATIONS_BEHIND_STREAM = 10

/**
 * A scorer that sends everything to one address, and that keeps count of its instances in `counts.json`: made, disposed
 * of, and those that memory still holds after a collection, which a request with the header `x-collect` starts.
 */
const POLE_SCORER = `import { renameSync, writeFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { definePlugin, Type } from 'endpoint-picker/plugin'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const instances: WeakRef<object>[] = []
const counts = { made: 0, disposed: 0, held: 0, heapBytes: 0, collection: '' }
function write() {
  writeFileSync(new URL('counts.json.new', import.meta.url), JSON.stringify(counts))
  renameSync(new URL('counts.json.new', import.meta.url), new URL('counts.json', import.meta.url))
}

export default definePlugin({
  kind: 'scorer',
  type: 'pole-scorer',
  description: 'Prefers one address.',
  params: Type.Object({
    address: Type.String({ description: 'Address that scores 1.' }),
    fails: Type.Boolean({ default: false, description: 'Whether it cannot be made.' }),
  }),
  create: ({ address, fails }) => {
    if (fails) throw new Error('this pole does not stand')
    const pole = {
      score(request, endpoints) {
        const collection = request.headers.get('x-collect')
        if (collection !== undefined) {
          setImmediate(() => {
            collect()
            counts.held = instances.filter((each) => each.deref() !== undefined).length
            counts.heapBytes = process.memoryUsage().heapUsed
            counts.collection = collection
            write()
          })
        }
        return endpoints.map((endpoint) => Number(endpoint.address === address))
      },
      [Symbol.dispose]() {
        counts.disposed++
        write()
      },
    }
    instances.push(new WeakRef(pole))
    counts.made++
    write()
    return pole
  },
})
`

interface Counts {
  readonly made: number
  readonly disposed: number
  readonly held: number
  readonly heapBytes: number
  readonly collection: string
}

const MODULES = "modules: ['./pole-scorer.ts']\n"

/** The good configuration of a generation: three kinds in turn, each with another address and other services behind it. */
function good(generation: number): string {
  const address = ADDRESSES[generation % ADDRESSES.length]
  const others = [
    `      - { type: queue-scorer, weight: ${1 + (generation % 7) / 10} }
      - { type: active-request-scorer }
`,
    `      - { type: precise-prefix-cache-scorer, weight: 2, parameters: { tokenProcessorConfig: { blockSize: ${16 * (1 + (generation % 4))} } } }
`,
    `      - { type: cost-scorer }
      - { type: session-affinity-filter, parameters: { strategy: session_id } }
`,
  ][generation % 3]
  return `${MODULES}plugins:
  - { type: metrics-data-source }
  - { type: core-metrics-extractor, parameters: { engineLabelKey: engine-${generation % 2} } }
schedulingProfiles:
  - name: default
    plugins:
      - { type: pole-scorer, weight: 100, parameters: { address: ${address} } }
${others}      - { type: max-score-picker }
`
}

/** What is wrong with a file, and what the picker must say of it. */
const BAD: readonly { readonly text: string; readonly says: RegExp }[] = [
  { text: `${good(0)} : [`, says: /profile\.yaml:\d+:\d+/ },
  { text: good(0).replace('max-score-picker', 'max-scor-picker'), says: /"max-score-picker"/ },
  { text: good(0).replace('weight: 100', 'weight: -1'), says: /weight: must be .*-1/ },
  {
    text: good(0).replace(MODULES, "modules: ['./pole-scorer.ts', './broken.ts']\n"),
    says: /broken\.ts" does not load: no luck/,
  },
  {
    text: good(0).replace(
      '      - { type: max-score-picker }',
      '      - { type: pole-scorer, name: fallen, parameters: { address: none, fails: true } }\n$&',
    ),
    says: /^the plugin "fallen" \(pole-scorer\) cannot be made: this pole does not stand/,
  },
  { text: good(0).replace('address:', 'adress:'), says: /did you mean "address"/ },
  { text: '', says: /./ },
]

interface ConfigPage {
  readonly generation: number
  readonly lastReload?: { readonly at: string; readonly source: string; readonly result: string }
  readonly text: string
}
interface DecisionPage {
  readonly generation: number
  readonly endpoints: readonly string[]
}

/** Requests at a steady rate whatever becomes of those before, until stopped. */
class OpenLoop {
  readonly #url: string
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  readonly #timer: NodeJS.Timeout
  readonly #startMs = performance.now()
  readonly #underWay = new Set<Promise<void>>()
  /** From the moment when a request was due to the end of its answer. */
  readonly latenciesMs: number[] = []
  readonly lost: string[] = []
  #sent = 0

  constructor(url: string, perSecond: number) {
    this.#url = url
    this.#timer = setInterval(() => {
      const due = ((performance.now() - this.#startMs) / 1000) * perSecond
      while (this.#sent < due) {
        const one = this.#send(this.#startMs + (this.#sent++ / perSecond) * 1000)
        this.#underWay.add(one)
        void one.then(() => this.#underWay.delete(one))
      }
    }, 2)
  }

  get sent(): number {
    return this.#sent
  }

  /** Waits for the answers of all that were sent. */
  async stop(): Promise<{ readonly perSecond: number }> {
    clearInterval(this.#timer)
    const perSecond = this.#sent / ((performance.now() - this.#startMs) / 1000)
    await Promise.all(this.#underWay)
    this.#agent.destroy()
    return { perSecond }
  }

  async #send(dueMs: number): Promise<void> {
    const number = this.#sent
    try {
      const headers = { 'x-session-id': `${number % 50}` }
      const response = await answerOf(
        post(this.#url, { max_tokens: 1 }, { headers, agent: this.#agent }),
      )
      const text = await textOf(response)
      if (response.statusCode !== 200) {
        this.lost.push(`${number}: status ${response.statusCode}, ${text}`)
      }
    } catch (error) {
      this.lost.push(`${number}: ${error}`)
    }
    this.latenciesMs.push(performance.now() - dueMs)
  }
}

function post(
  url: string,
  more: object,
  { headers = {}, agent }: { headers?: Record<string, string>; agent?: Agent } = {},
): ClientRequest {
  const sent = request(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    ...(agent && { agent }),
  })
  sent.end(JSON.stringify({ model: MODEL, prompt: 'How do I water a cactus?', ...more }))
  return sent
}

const answerOf = (sent: ClientRequest) =>
  new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve)
    sent.once('error', reject)
  })

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  response.setEncoding('utf8')
  for await (const chunk of response) text += chunk
  return text
}

describe(`${WRITES} changed configurations under ${REQUESTS_PER_SECOND} requests a second, real Envoy`, function () {
  this.timeout(300_000)
  const folder = mkdtempSync(join(tmpdir(), 'epp-storm-'))
  const file = join(folder, 'profile.yaml')
  const engines: Process[] = []
  let epp: Epp
  let envoy: Envoy
  let load: OpenLoop | undefined

  const write = (text: string) => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  const counts = () => JSON.parse(readFileSync(join(folder, 'counts.json'), 'utf8')) as Counts
  const config = () => epp.json<ConfigPage>('/config')

  /** Writes a good file and waits until it is in force. */
  async function take(generation: number): Promise<void> {
    const text = good(generation)
    write(text)
    const page = await eventually(`generation ${generation}`, async () => {
      const page = await config()
      return page.generation === generation ? page : undefined
    })
    assert.deepEqual([page.lastReload?.result, page.text], ['ok', text])
  }

  /** Writes a bad file and waits until the picker says why it is not in force. */
  async function refuse(generation: number, bad: (typeof BAD)[number]): Promise<void> {
    const before = await config()
    write(bad.text)
    const page = await eventually(`a refusal that says ${bad.says}`, async () => {
      const page = await config()
      return page.lastReload?.at !== before.lastReload?.at ? page : undefined
    })
    assert.match(page.lastReload!.result, bad.says)
    assert.deepEqual([page.generation, page.text], [generation, before.text])
  }

  /** The picker's own series, without values. */
  const seriesNames = async () =>
    (await epp.page('/metrics'))
      .split('\n')
      .filter((line) => line.startsWith('epp_'))
      .map((line) => line.replace(/ [^ ]+$/, ''))
      .sort()

  /** What memory holds after a collection. */
  async function collected(name: string): Promise<Counts & { readonly resident: number }> {
    const answer = await answerOf(
      post(envoy.url, { max_tokens: 1 }, { headers: { 'x-collect': name } }),
    )
    await textOf(answer)
    const held = await eventually(`the collection ${name}`, () =>
      counts().collection === name ? counts() : undefined,
    )
    return { ...held, resident: await residentBytes(epp) }
  }

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    writeFileSync(join(folder, 'pole-scorer.ts'), POLE_SCORER)
    writeFileSync(join(folder, 'broken.ts'), "throw new Error('no luck')\n")
    write(good(1))
    epp = await Epp.start([
      ...['--config-file', file, '--kv-events-bind', 'tcp://127.0.0.1:*', '--request-log', 'off'],
      ...ADDRESSES.flatMap((address) => ['--endpoint', `${address}:8000`]),
    ])
    for (const address of ADDRESSES) {
      const engine = await startEngine([
        ...['--host', address, '--port', '8000', '--served-model-name', MODEL],
        ...['--decode-ms', '2'],
      ])
      engines.push(engine.process)
    }
    envoy = await Envoy.start(epp.ports.grpc)
    await eventually('every engine is scraped', async () =>
      (await epp.json<{ state: string }[]>('/endpoints')).every(({ state }) => state === 'scraped'),
    )
  })

  after(async () => {
    await load?.stop()
    await envoy?.stop()
    await epp?.stop()
    for (const engine of engines) await engine.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  it('loses no request, keeps nothing of what was replaced, and says what became of every file', async () => {
    load = new OpenLoop(envoy.url, REQUESTS_PER_SECOND)
    let generation = 1
    let refused = 0
    const turns = async (end: number) => {
      while (generation - 1 + refused < end) {
        await refuse(generation, BAD[refused % BAD.length]!)
        refused++
        await take(++generation)
      }
    }

    await turns(WARM_WRITES)
    const running = load
    await eventually('the memory of decisions is full', () => running.sent >= WARM_REQUESTS)
    const before = await collected('before')
    const series = await seriesNames()
    const startMs = performance.now()

    // A request that began under one generation goes on under others, and that one waits for it.
    const sent = post(envoy.url, { max_tokens: STREAM_TOKENS, ignore_eos: true, stream: true })
    const stream = await answerOf(sent)
    const chunks = stream[Symbol.asyncIterator]()
    await chunks.next()
    await turns(WARM_WRITES + 2 * GENERATIONS_BEHIND_STREAM)
    assert.equal((await chunks.next()).done, false, 'the stream goes on')
    await eventually(
      'all but the newest and that of the stream are disposed of',
      () => counts().made - counts().disposed === 2,
      60_000,
    )
    sent.destroy()
    await turns(WRITES)

    const seconds = (performance.now() - startMs) / 1000
    // Of the whole time since the page before.
    const lagMs = 1000 * (await epp.metric('nodejs_eventloop_lag_max_seconds'))!
    const { perSecond } = await load.stop()
    const { lost, latenciesMs } = load
    const after = await collected('after')
    const sorted = latenciesMs.sort((a, b) => a - b)
    const p99Ms = sorted[Math.floor(sorted.length * 0.99)]!
    console.log(
      `      ${sorted.length} requests, ${perSecond.toFixed(0)}/s, ${lost.length} lost; ` +
        `latency p50 ${sorted[sorted.length >> 1]!.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, ` +
        `longest ${sorted.at(-1)!.toFixed(0)} ms`,
    )
    console.log(
      `      ${WRITES - WARM_WRITES} files in ${seconds.toFixed(1)} s; longest pause of the picker ${lagMs.toFixed(0)} ms; ` +
        `heap ${inMebibytes(before.heapBytes)}, then ${inMebibytes(after.heapBytes)} (at most ${inMebibytes(MAX_HEAP_GROWTH_BYTES)} more); ` +
        `resident ${inMebibytes(before.resident)}, then ${inMebibytes(after.resident)}`,
    )

    assert.deepEqual(lost, [])
    assert.equal(sorted.length, load.sent)
    assert.ok(perSecond > 0.95 * REQUESTS_PER_SECOND)
    assert.equal(generation - 1, WRITES / 2)
    assert.equal(await epp.metric('epp_config_reloads_total{result="ok"}'), WRITES / 2)
    assert.equal(await epp.metric('epp_config_reloads_total{result="failed"}'), WRITES / 2)
    assert.equal(await epp.metric('epp_config_generation'), generation)
    assert.equal(epp.process.logged('Configuration taken over').length, WRITES / 2)
    assert.equal(
      epp.process.logged('Configuration refused; the running one goes on').length,
      WRITES / 2,
    )

    await eventually('the ends of all requests are seen', async () => {
      const page = await epp.page('/metrics')
      const values = page.split('\n').filter((line) => {
        return /^epp_(extproc_(exchanges_active|buffered_bytes)|requests_in_flight)/.test(line)
      })
      assert.ok(values.length >= 2 + ADDRESSES.length)
      return values.every((line) => line.endsWith(' 0'))
    })
    assert.equal(after.made - after.disposed, 1, 'one instance is in use')
    assert.ok(after.held <= 2, `memory holds ${after.held} instances of ${after.made}`)
    assert.ok(after.heapBytes - before.heapBytes < MAX_HEAP_GROWTH_BYTES)
    assert.ok(after.resident - before.resident < MAX_RESIDENT_GROWTH_BYTES)
    assert.deepEqual(await seriesNames(), series)
    assert.ok(p99Ms < MAX_P99_MS * 10, `p99 ${p99Ms} ms, expected ${MAX_P99_MS}`)
    const decisions = await epp.json<DecisionPage[]>('/decisions?limit=1000')
    assert.equal(decisions.length, 1000)
    for (const decision of decisions) {
      const address = ADDRESSES[decision.generation % ADDRESSES.length]
      assert.equal(decision.endpoints[0], `${address}:8000`, `generation ${decision.generation}`)
    }
  })
})
