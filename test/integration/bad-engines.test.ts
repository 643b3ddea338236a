import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../e2e/process.ts'
import { assertNoCanary, CANARY } from './canary.ts'
import { Conversation } from './conversation.ts'
import { inMebibytes, MEBIBYTE, peakBytes, residentBytes } from './memory.ts'
import {
  type Answer,
  endless,
  goodMetrics,
  goodModels,
  never,
  RogueEngine,
} from './rogue-engine.ts'

const HTML = '<!doctype html><html><body>502 Bad Gateway</body></html>'
const text =
  (body: string | Buffer, status = 200): Answer =>
  (response) =>
    void response.writeHead(status).end(body)

/** A page of the right names, with another value. */
const metrics = (value: string) =>
  text(
    ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc']
      .map((name) => `vllm:${name}{model_name="m"} ${value}\n`)
      .join(''),
  )

const BAD_METRICS: Readonly<Record<string, { readonly answer: Answer; readonly result: string }>> =
  {
    'a page of HTML': { answer: text(HTML), result: 'not-metrics' },
    'an empty page': { answer: text(''), result: 'not-metrics' },
    'a page of another server': { answer: text('go_goroutines 7\n'), result: 'not-metrics' },
    'a page with one metric of three': {
      answer: text('vllm:num_requests_running 1\n'),
      result: 'metric-missing',
    },
    'values that are no numbers': { answer: metrics('NaN'), result: 'bad-value' },
    'values that are infinite': { answer: metrics('+Inf'), result: 'bad-value' },
    'negative values': { answer: metrics('-1'), result: 'bad-value' },
    'an error status': { answer: text(HTML, 503), result: 'status' },
    'a redirect': {
      answer: (response) => void response.writeHead(302, { location: '/metrics' }).end(),
      result: 'status',
    },
    'an endless page': { answer: endless(Buffer.alloc(65_536, 'vllm:x 1\n')), result: 'too-large' },
    'an endless line': { answer: endless(Buffer.alloc(65_536, 'x')), result: 'too-large' },
    'a page that never comes': { answer: never, result: 'timeout' },
    'a page that never ends': {
      answer: (response) => void response.write('vllm:num_requests_running 1\n'),
      result: 'timeout',
    },
    'a connection that breaks': {
      answer: (response) => void response.destroy(),
      result: 'connect',
    },
    'bytes that are not HTTP': {
      answer: (response) => void response.socket!.end('\x00\xff garbage\r\n\r\n'),
      result: 'connect',
    },
  }

const BAD_MODELS: Readonly<Record<string, { readonly answer: Answer; readonly result: string }>> = {
  'a page of HTML': { answer: text(HTML), result: 'not-a-list' },
  'JSON that is cut': { answer: text('{"data":[{"id":"m"'), result: 'not-a-list' },
  'JSON of another shape': { answer: text('{"data":{"id":"m"}}'), result: 'not-a-list' },
  null: { answer: text('null'), result: 'not-a-list' },
  'deep nesting': { answer: text('['.repeat(400_000) + ']'.repeat(400_000)), result: 'not-a-list' },
  'an endless page': { answer: endless(Buffer.alloc(65_536, ' ')), result: 'too-large' },
  'a page that never comes': { answer: never, result: 'timeout' },
  'an error status': { answer: text('{}', 500), result: 'status' },
}

describe('bad input from model servers', function () {
  this.timeout(60_000)
  const rogues = new Map<string, RogueEngine>()
  let good: RogueEngine
  let picker: Conversation
  let residentBefore = 0

  before(async () => {
    good = await RogueEngine.start()
    for (const name of Object.keys(BAD_METRICS)) rogues.set(name, await RogueEngine.start())
    picker = await Conversation.start([
      ...['--endpoint', `127.0.0.1:${good.port}`, '--refresh-metrics-interval', '20ms', '-v', '4'],
      ...[...rogues.values()].flatMap(({ port }) => ['--endpoint', `127.0.0.1:${port}`]),
    ])
    await all('scraped')
    await picker.serves()
    residentBefore = await residentBytes(picker.epp)
    for (const [name, { answer }] of Object.entries(BAD_METRICS)) rogues.get(name)!.metrics = answer
  })

  after(async () => {
    await picker?.stop()
    for (const engine of [good, ...rogues.values()]) await engine?.stop()
  })

  const stateOf = async (port: number) =>
    (await picker.epp.json<{ address: string; state: string }[]>('/endpoints')).find(
      ({ address }) => address === `127.0.0.1:${port}`,
    )!.state
  const all = (state: string) =>
    eventually(`all are ${state}`, async () => {
      const page = await picker.epp.json<{ state: string }[]>('/endpoints')
      return page.every((endpoint) => endpoint.state === state) || undefined
    })

  describe('a metrics page', () => {
    for (const [name, { result }] of Object.entries(BAD_METRICS)) {
      it(`${name}: ${result}`, async () => {
        const { port } = rogues.get(name)!
        await eventually(
          'it is not believed',
          async () => (await stateOf(port)) !== 'scraped' || undefined,
        )
        assert.ok((await picker.count(`epp_scrapes_total{result="${result}"}`)) > 0)
        const { reason } = await picker.epp.process.line(
          ({ msg, endpoint }) =>
            (msg ?? '').startsWith('metrics of an endpoint are stale') &&
            endpoint === `127.0.0.1:${port}`,
          'line that says so',
        )
        console.log(`        ${reason}`)
        assert.equal(await stateOf(good.port), 'scraped')
        await picker.serves()
      })
    }

    it('that is good again is believed again', async () => {
      assert.match(
        await picker.epp.page('/readyz?verbose'),
        new RegExp(`metrics-stale: no metrics from ${rogues.size} of ${rogues.size + 1} endpoints`),
      )
      for (const rogue of rogues.values()) rogue.metrics = goodMetrics
      await all('scraped')
      assert.doesNotMatch(await picker.epp.page('/readyz?verbose'), /metrics-stale/)
      await picker.serves()
    })
  })

  describe('a list of models', () => {
    it('that is none refuses no request', async () => {
      const engines = [good, ...rogues.values()]
      const results = new Map<string, number>()
      for (const [name, { answer, result }] of Object.entries(BAD_MODELS)) {
        for (const engine of engines) engine.models = answer
        const sample = `epp_model_looks_total{result="${result}"}`
        const before = await picker.count(sample)
        await eventually(`${name} is counted`, async () => {
          // A request for an unknown model causes a fresh look, once a second.
          await picker.ask(JSON.stringify({ model: 'unknown', prompt: CANARY.text }))
          return (await picker.count(sample)) > before || undefined
        })
        results.set(result, await picker.count(sample))
        await picker.serves()
      }
      console.log(`      looks: ${[...results].map(([result, n]) => `${n} ${result}`).join(', ')}`)
      for (const engine of engines) engine.models = goodModels
      const unknown = JSON.stringify({ model: 'unknown', prompt: CANARY.text })
      await eventually('the list is believed again', async () => {
        const outcome = await picker.ask(unknown)
        return ('status' in outcome && outcome.error.code === 'MODEL_UNKNOWN') || undefined
      })
      await picker.serves()
    })
  })

  describe('when all is over', () => {
    it('takes no memory for endless pages', async () => {
      const peak = await peakBytes(picker.epp)
      console.log(`      resident ${inMebibytes(residentBefore)}, at most ${inMebibytes(peak)}`)
      assert.ok(peak - residentBefore < 300 * MEBIBYTE)
      await assertNoCanary(picker.epp, picker.answers)
    })
  })
})

describe('a bad endpoints file', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'epp-bad-endpoints-'))
  const file = join(folder, 'endpoints.yaml')
  let engine: RogueEngine
  let picker: Conversation

  const write = (content: string | Buffer) => {
    writeFileSync(`${file}.new`, content)
    renameSync(`${file}.new`, file)
  }
  const list = (...ports: number[]) =>
    JSON.stringify({
      endpoints: ports.map((port) => ({ name: `e${port}`, address: '127.0.0.1', port })),
    })
  const addresses = async () =>
    (await picker.epp.json<{ address: string }[]>('/endpoints')).map(({ address }) => address)
  const loads = (result: string) =>
    picker.count(`epp_endpoints_file_loads_total{result="${result}"}`)

  before(async () => {
    engine = await RogueEngine.start()
    write(list(engine.port))
    picker = await Conversation.start(['--endpoints-file', file, '-v', '4'])
    await picker.serves()
  })

  after(async () => {
    await picker?.stop()
    await engine?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  const BAD: Readonly<Record<string, { readonly make: () => void; readonly result: string }>> = {
    'that vanishes': { make: () => unlinkSync(file), result: 'unreadable' },
    'of random bytes': {
      make: () => write(Buffer.from([0xff, 0xfe, 0, 1, 2, 0x80])),
      result: 'unreadable',
    },
    'that is empty': { make: () => write(''), result: 'invalid' },
    'of HTML': { make: () => write(HTML), result: 'invalid' },
    'that is cut': { make: () => write(list(1, 2, 3).slice(0, -5)), result: 'invalid' },
    'of aliases that multiply': {
      make: () => {
        const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]']
        for (let i = 1; i < 12; i++) {
          lines.push(
            `a${i}: &a${i} [${Array(9)
              .fill(`*a${i - 1}`)
              .join(', ')}]`,
          )
        }
        write(`${lines.join('\n')}\nendpoints: *a11\n`)
      },
      result: 'invalid',
    },
    'of 100,000 levels': {
      make: () => write(`endpoints: ${'['.repeat(100_000)}`),
      result: 'invalid',
    },
    'with a port that is none': { make: () => write(list(engine.port, 99_999)), result: 'invalid' },
    'of 20 MB': {
      make: () => write(`# ${'x'.repeat(20_000_000)}\n${list(1)}`),
      result: 'unreadable',
    },
  }
  for (const [name, { make, result }] of Object.entries(BAD)) {
    it(`${name} leaves the last endpoints in place, until it comes back`, async () => {
      const before = await loads(result)
      const logged = picker.epp.process.lines.length
      make()
      await eventually('it is counted', async () => (await loads(result)) > before || undefined)
      assert.deepEqual(await addresses(), [`127.0.0.1:${engine.port}`])
      assert.match(
        await picker.epp.page('/readyz?verbose'),
        /endpoints-file: .*the last 1 endpoints stay/,
      )
      assert.ok(
        picker.epp.process.lines
          .slice(logged)
          .some(
            ({ msg, level }) => level === 'error' && msg?.startsWith('endpoints file not taken'),
          ),
      )
      await picker.serves()
      write(list(engine.port, 9))
      await eventually(
        'the good file is taken',
        async () => (await addresses()).length === 2 || undefined,
      )
      assert.doesNotMatch(await picker.epp.page('/readyz?verbose'), /endpoints-file/)
      write(list(engine.port))
      await eventually('and the next', async () => (await addresses()).length === 1 || undefined)
      await picker.serves()
    })
  }
})
