import assert from 'node:assert/strict'
import { documentBody, tokenizersDir } from '../fixtures.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { post } from './openai-client.ts'
import { eventually, type Process } from './process.ts'

const ADDRESSES = ['127.0.42.1', '127.0.42.2']
const EVENTS = 'tcp://127.0.42.9:5557'
const TERMS = ['queue', 'prefill', 'stall', 'decode', 'kv', 'rent', 'copy']

interface DecisionPage {
  readonly endpoints: readonly string[]
  readonly ended: string
  readonly indexCoverage: { readonly source: string; readonly tracked: number }
  readonly profiles: readonly {
    readonly endpoints: readonly {
      readonly scores: Readonly<
        Record<string, { readonly score: number; readonly terms: Readonly<Record<string, number>> }>
      >
    }[]
  }[]
}

describe('the shipped profile, through Envoy', function () {
  this.timeout(60_000)
  const engines: Process[] = []
  let epp: Epp
  let envoy: Envoy

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    epp = await Epp.start([
      ...['--kv-events-bind', EVENTS, '--tokenizers-dir', tokenizersDir()],
      ...ADDRESSES.flatMap((address) => ['--endpoint', `${address}:8000`]),
    ])
    for (const address of ADDRESSES) {
      const events = {
        enable_kv_cache_events: true,
        publisher: 'zmq',
        endpoint: EVENTS,
        topic: `kv@${address}@Qwen3-32B`,
      }
      const engine = await startEngine([
        ...['--host', address, '--port', '8000', '--tokenizers-dir', tokenizersDir()],
        ...['--served-model-name', 'Qwen3-32B', '--block-size', '64'],
        ...['--kv-events-config', JSON.stringify(events)],
      ])
      engines.push(engine.process)
    }
    envoy = await Envoy.start(epp.ports.grpc)
    await eventually('both engines are scraped', async () =>
      (await epp.json<{ state: string }[]>('/endpoints')).every(({ state }) => state === 'scraped'),
    )
  })

  after(async () => {
    await envoy?.stop()
    await epp?.stop()
    for (const engine of engines) await engine.stop()
  })

  const ask = async (round: 'round1' | 'round2') => {
    const response = await post(`${envoy.url}/v1/chat/completions`, documentBody(round), {
      'x-request-id': round,
    })
    assert.equal(response.status, 200)
    return eventually(`${round} has ended`, async () => {
      const decision = await epp.json<DecisionPage>(`/decisions/${round}`)
      return decision.ended === 'completed' ? decision : undefined
    })
  }

  it('keeps a conversation where its prefix is, and says what that costs everywhere', async () => {
    const first = await ask('round1')
    await eventually('the events of round1 are applied', async () =>
      (await epp.json<{ blocks: number }[]>('/endpoints')).some(({ blocks }) => blocks >= 3),
    )
    const second = await ask('round2')
    assert.deepEqual(second.endpoints, first.endpoints)
    assert.equal(second.indexCoverage.source, 'tracked')
    const scores = second.profiles[0]!.endpoints.map((each) => each.scores['cost-scorer']!)
    assert.equal(Math.max(...scores.map(({ score }) => score)), 1)
    for (const { terms } of scores) assert.deepEqual(Object.keys(terms), TERMS)
    const prefill = scores.map(({ terms }) => terms.prefill!).sort((a, b) => a - b)
    assert.ok(prefill[0]! < prefill[1]!, `prefill ${prefill.join(' and ')} s`)
  })

  it('writes the line that operators grep, with what the pick cost', () => {
    const line = epp.process
      .logged('Got pod scores')
      .find((each) => each['x-request-id'] === 'round2')!
    assert.equal(line.logger, 'cost-scorer')
    assert.deepEqual(Object.values(line.scores as Record<string, number>), [2])
    const cost = line.cost as Readonly<Record<string, number | string>>
    assert.deepEqual(Object.keys(cost), ['endpoint', 'total', ...TERMS, 'runnerUp', 'margin'])
    assert.ok((cost.margin as number) > 0)
  })

  it('counts its terms, and has nothing in flight in the end', async () => {
    for (const term of TERMS) {
      assert.equal(await epp.metric(`epp_cost_seconds_count{term="${term}"}`), 2)
    }
    assert.equal(await epp.metric('epp_reuse_lost_ratio_count'), 2)
    for (const address of ADDRESSES) {
      assert.equal(await epp.metric(`epp_requests_in_flight{endpoint="${address}:8000"}`), 0)
    }
  })
})
