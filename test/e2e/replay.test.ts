import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { tokenizersDir } from '../fixtures.ts'
import { CANARY } from '../integration/canary.ts'
import { Epp, startEngine } from './epp.ts'
import { eventually, type Process } from './process.ts'

const ADDRESSES = ['127.0.88.1', '127.0.88.2', '127.0.88.3']
const EVENTS = 'tcp://127.0.88.9:5557'
const REQUESTS = 60

const config = (queue: number) => `schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 3 }
      - { type: queue-scorer, weight: ${queue} }
      - { type: active-request-scorer, weight: 1 }
  - name: random
    shadow: true
    plugins: [{ type: random-picker }]
`

describe('epp replay, of what a running picker recorded', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'epp-replay-'))
  const file = join(folder, 'decisions.jsonl.gz')
  const engines: Process[] = []
  let epp: Epp

  before(async () => {
    writeFileSync(join(folder, 'old.yaml'), config(2))
    writeFileSync(join(folder, 'new.yaml'), config(0.1).replace('weight: 3', 'weight: 0.01'))
    epp = await Epp.start(
      [
        ...['--listen', '127.0.0.1:0', '--config-file', join(folder, 'old.yaml')],
        ...['--record', file, '--kv-events-bind', EVENTS, '--tokenizers-dir', tokenizersDir()],
        ...ADDRESSES.flatMap((address) => ['--endpoint', `${address}:8000`]),
      ],
      {},
      'proxy',
    )
    for (const address of ADDRESSES) {
      const events = {
        ...{ enable_kv_cache_events: true, publisher: 'zmq', endpoint: EVENTS },
        topic: `kv@${address}@Qwen3-32B`,
      }
      const engine = await startEngine([
        ...['--host', address, '--port', '8000', '--tokenizers-dir', tokenizersDir()],
        ...['--served-model-name', 'Qwen3-32B', '--kv-events-config', JSON.stringify(events)],
      ])
      engines.push(engine.process)
    }
    await eventually('all engines are scraped', async () =>
      (await epp.json<{ state: string }[]>('/endpoints')).every(({ state }) => state === 'scraped'),
    )
  })

  after(async () => {
    await epp?.stop()
    for (const engine of engines) await engine.stop()
    rmSync(folder, { recursive: true })
  })

  const run = (...args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['dist/main.js', 'replay', ...args],
      { encoding: 'utf8' },
    )
    return { status, stdout, stderr }
  }

  it('gives the same picks under the same file, and says what another one moves', async () => {
    const port = (epp.ports as Epp['ports'] & { readonly proxy: number }).proxy
    const ask = async (i: number) => {
      const customer = `${CANARY.text} ${`customer ${i % 7} `.repeat(60)}`
      const response = await fetch(`http://127.0.0.1:${port}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-request-id': `r${i}` },
        body: JSON.stringify({
          ...{ model: 'Qwen3-32B', max_tokens: 4, prompt: `${customer} question ${i}` },
        }),
      })
      assert.equal(response.status, 200, await response.text())
    }
    for (let i = 0; i < REQUESTS; i += 4) {
      await Promise.all([0, 1, 2, 3].map((each) => ask(i + each)))
    }
    const counted = await epp.metric('epp_recorded_decisions_total')
    assert.equal(counted, REQUESTS)
    const decision = await epp.json<{
      shadows: readonly { profile: string; result: string; endpoints: readonly object[] }[]
    }>('/decisions/r1')
    assert.equal(decision.shadows[0]!.profile, 'random')
    assert.equal(decision.shadows[0]!.endpoints.length, 3)
    assert.equal(await epp.stop(), 0)

    const text = gunzipSync(readFileSync(file)).toString()
    for (const canary of Object.values(CANARY)) assert.ok(!text.includes(String(canary)))

    const same = run(file, '--config', join(folder, 'old.yaml'), '--json')
    assert.equal(same.stderr, '')
    const report = JSON.parse(same.stdout)
    assert.deepEqual(
      { decisions: report.decisions, moved: report.moved, lacks: report.lacks },
      { decisions: REQUESTS, moved: 0, lacks: [] },
    )
    assert.deepEqual(report.reproduced, { decisions: REQUESTS, same: REQUESTS, problems: [] })
    assert.equal(report.engines.answers, REQUESTS)

    const other = run(file, '--config', join(folder, 'new.yaml'))
    assert.equal(other.status, 0, other.stderr)
    assert.match(other.stdout, /^\d+\.\d+ % of the decisions move \(\d+ of 60\)$/m)
    assert.match(other.stdout, /^expected hit rate +\d+\.\d+ % +\d+\.\d+ %$/m)
    assert.match(other.stdout, /^before +default +queue-scorer +2 /m)
    assert.match(other.stdout, /^after +default +queue-scorer +0\.1 /m)
    assert.match(other.stdout, /^Open-loop: /m)
    assert.match(other.stdout, /again what it picked in 100\.00 % of the decisions \(60 of 60\)/)
  })

  it('says what is wrong with a file', () => {
    const wrong = run(join(folder, 'old.yaml'), '--config', join(folder, 'old.yaml'))
    assert.equal(wrong.status, 1)
    assert.match(wrong.stderr, /old\.yaml:1: no recording: the first line is not JSON/)
    const absent = run(join(folder, 'none'), '--config', join(folder, 'old.yaml'))
    assert.equal(absent.status, 1)
    assert.match(absent.stderr, /none cannot be read: ENOENT/)
  })
})
