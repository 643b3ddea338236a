import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { App, type ServeOptions } from '../../src/app.ts'
import type { Explanation } from '../../src/framework/routing/explanation.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { startSimEngine } from '../../src/sim-engine.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { eventually } from '../e2e/process.ts'
import { tokenizersDir } from '../fixtures.ts'
import { ModelServer } from './model-server.ts'
import { defaultOptions } from './options.ts'

const MODEL = 'Qwen3-32B'
const quiet = createLogger({ format: 'text', level: 'error', write() {}, epochMs: Date.now })

type Page = Explanation & {
  readonly generation: number
  readonly promptTokens?: { readonly count: number; readonly exact: boolean }
  readonly error?: { readonly code: string }
}

const profile = (queueWeight: number, filter = '') => `schedulingProfiles:
  - name: default
    plugins:
${filter}      - { type: precise-prefix-cache-scorer, weight: 3 }
      - { type: queue-scorer, weight: ${queueWeight} }
      - { type: max-score-picker }
`

describe('why a request goes where it goes', function () {
  this.timeout(180_000)
  let app: App
  let url: string
  const stack: (() => unknown)[] = []
  afterEach(async () => {
    for (const step of stack.splice(0).reverse()) await step()
  })

  const start = async (
    config: Partial<ServeOptions>,
    endpoints: readonly string[],
    startEngines: () => Promise<void> = async () => {},
  ) => {
    app = await App.start({
      ...defaultOptions(),
      ...{ ...config, endpoints, tokenizersDir: tokenizersDir(), refreshMetricsInterval: 20 },
      proxy: { host: '127.0.0.1', port: 0, retries: 1, engineTimeoutMs: 10_000 },
    })
    const started = app
    stack.push(() => started.close())
    url = `http://127.0.0.1:${app.ports.metrics}`
    await startEngines()
    await eventually('metrics are scraped', async () =>
      ((await (await fetch(`${url}/endpoints`)).json()) as { state: string }[]).every(
        ({ state }) => state === 'scraped',
      ),
    )
  }
  const explain = async (body: unknown, headers = {}): Promise<Page> => {
    const response = await fetch(`${url}/explain`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
    return (await response.json()) as Page
  }
  const send = async (body: unknown, id: string) => {
    const response = await fetch(`http://127.0.0.1:${app.ports.proxy}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': id },
      body: JSON.stringify(body),
    })
    assert.equal(response.status, 200)
    await response.text()
    return (await (await fetch(`${url}/decisions/${id}`)).json()) as {
      readonly endpoints: readonly string[]
      readonly explanation: Explanation
    }
  }
  const chat = (...words: readonly string[]) => ({
    model: MODEL,
    max_tokens: 4,
    messages: words.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content })),
  })

  it('shows matched blocks by medium, and says of a request what is then done with it', async () => {
    const events = `tcp://127.0.0.1:${await freePort()}`
    const addresses = ['127.0.47.2', '127.0.47.3', '127.0.47.4']
    const port = await freePort()
    await start(
      { configText: profile(2), kvEventsBind: events },
      addresses.map((address, i) => `engine-${i}=${address}:${port}`),
      async () => {
        for (const host of addresses) {
          const engine = await startSimEngine(
            simEngineOptions({
              ...{ host, port: String(port), servedModelName: MODEL, blockSize: '16' },
              tokenizersDir: tokenizersDir(),
              kvEventsConfig: JSON.stringify({
                ...{ enable_kv_cache_events: true, publisher: 'zmq', endpoint: events },
                topic: `kv@${host}@${MODEL}`,
              }),
            }),
            quiet,
          )
          stack.push(() => engine.close())
        }
      },
    )
    // What an engine publishes before its connection stands is lost.
    let warmUps = 0
    await eventually('the events of every engine come', async () => {
      const id = `warm-${warmUps++}`
      await Promise.all(addresses.map((host) => send(chat(`${id} ${host} `.repeat(20)), id + host)))
      const page = (await (await fetch(`${url}/endpoints`)).json()) as { coverage: string }[]
      return page.every(({ coverage }) => coverage === 'complete') || undefined
    })

    const long = 'Tell me about caches. '.repeat(20)
    const first = await send(chat(long), 'first')
    const next = chat(long, 'They are fast.', 'And then?')
    const page = await eventually('the engine has told what it holds', async () => {
      const found = await explain(next)
      const matched = found.profiles[0]!.endpoints[0]!.matched
      return (matched?.byMedium?.gpu ?? 0) > 0 && matched?.byMedium?.expected === 0
        ? found
        : undefined
    })
    assert.equal(page.winner!.endpoint, first.endpoints[0])
    assert.ok(page.promptTokens!.exact)
    const [best, second] = page.profiles[0]!.endpoints
    assert.equal(best!.matched!.byMedium!.gpu, best!.matched!.blocks)
    assert.equal(best!.matched!.tokens, best!.matched!.blocks * 16)
    assert.ok(best!.matched!.tokens > page.promptTokens!.count / 2)
    assert.equal(second!.matched!.blocks, 0)

    const then = await send(next, 'second')
    assert.equal(then.endpoints[0], page.winner!.endpoint)
    assert.equal(then.explanation.reason, page.reason)
    assert.equal(then.explanation.profiles[0]!.endpoints[0]!.matched!.blocks, best!.matched!.blocks)
    const { length } = (await (await fetch(`${url}/decisions`)).json()) as unknown[]
    assert.equal(length, 2 + warmUps * addresses.length, 'explanations are no decisions')
  })

  it('names a weight that changes the winner, and with that weight it does', async () => {
    const [busy, idle] = await Promise.all(
      ['127.0.47.11', '127.0.47.12'].map((address) => ModelServer.start(address, [MODEL])),
    )
    stack.push(
      () => busy!.stop(),
      () => idle!.stop(),
    )
    const endpoints = [`busy=${busy!.hostPort}`, `idle=${idle!.hostPort}`]
    const folder = mkdtempSync(join(tmpdir(), 'epp-explain-'))
    stack.push(() => rmSync(folder, { recursive: true }))
    const configFile = join(folder, 'profile.yaml')
    writeFileSync(configFile, profile(2))
    await start({ configFile }, endpoints)
    // The prompt is sent to one of them, which counts as holding it; then that one has a queue.
    const body = chat('What is a cache? '.repeat(20))
    await fetch(`http://127.0.0.1:${app.ports.proxy}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': 'held' },
      body: JSON.stringify(body),
    })
    const decided = await (await fetch(`${url}/decisions/held`)).json()
    const holder = (decided as { explanation: Explanation }).explanation.winner!.name
    const other = holder === 'busy' ? 'idle' : 'busy'
    const server = holder === 'busy' ? busy! : idle!
    server.state = { waiting: 3, kvCacheUsage: 0 }
    const page = await eventually('the queue is seen', async () => {
      const found = await explain(body)
      return found.wouldChange.some(({ scorer }) => scorer === 'queue-scorer') ? found : undefined
    })
    assert.equal(page.winner!.name, holder)
    const change = page.wouldChange.find(({ scorer }) => scorer === 'queue-scorer')!
    assert.equal(change.winner, other)
    assert.ok(change.to > 2 && change.to <= 4, `${change.to}`)
    writeFileSync(configFile, profile(change.to))
    const after = await eventually('the weight is in force', async () => {
      const found = await explain(body)
      return found.generation === 2 ? found : undefined
    })
    assert.equal(after.winner!.name, other)
    const [scored] = page.profiles[0]!.endpoints.filter(({ name }) => name === holder)
    assert.ok(scored!.scores!['precise-prefix-cache-scorer']!.score > 0.5)
  })

  it('says which filter dropped whom when nobody is left', async () => {
    const server = await ModelServer.start('127.0.47.21', [MODEL])
    stack.push(() => server.stop())
    const filter =
      '      - { type: label-selector-filter, parameters: { matchLabels: { zone: a } } }\n'
    await start({ configText: profile(2, filter) }, [`one=${server.hostPort}`])
    const page = await explain(chat('hello'))
    assert.equal(page.winner, null)
    assert.equal(page.error!.code, 'NO_ENDPOINTS')
    assert.match(page.reason, /"label-selector-filter".*left none of 1 endpoints/)
    assert.deepEqual(page.profiles[0]!.endpoints, [
      { name: 'one', endpoint: server.hostPort, droppedBy: 'label-selector-filter' },
    ])
  })

  it('is printed by epp explain, for a body and for a request that was', async () => {
    const server = await ModelServer.start('127.0.47.31', [MODEL])
    stack.push(() => server.stop())
    await start({ configText: profile(2) }, [`only=${server.hostPort}`])
    const text = await eppExplain(['--url', url], JSON.stringify(chat('hello')))
    assert.equal(text.status, 0, text.stderr)
    assert.match(text.stdout, /^only \(127\.0\.47\.31:\d+\)\n {2}only was the only endpoint left\n/)
    assert.match(text.stdout, /\n1 +only +\d[\d.]* +0 tokens, 0 blocks/)
    const json = await eppExplain(['--url', url, '--json'], JSON.stringify(chat('hello')))
    assert.equal((JSON.parse(json.stdout) as Page).winner!.name, 'only')
    const wrong = await eppExplain(['--url', url], '{"model":"x","messages":[{}]}')
    assert.equal(wrong.status, 1)
    const nowhere = await eppExplain(['--url', 'http://127.0.0.1:1'], '{}')
    assert.match(nowhere.stderr, /no picker answers at http:\/\/127\.0\.0\.1:1 .*--url/)
  })
})

/** Runs the command from source, so that it is the one that is tested. */
function eppExplain(args: readonly string[], input: string) {
  return new Promise<{ status: number | null; stdout: string; stderr: string }>((resolve) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'src/main.ts', 'explain', ...args])
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr += chunk))
    child.once('close', (status) => resolve({ status, stdout, stderr }))
    child.stdin.end(input)
  })
}

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net')
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
