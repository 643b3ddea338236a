import assert from 'node:assert/strict'
import { documentBody, tokenizersDir } from '../fixtures.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp, startEngine } from './epp.ts'
import { type Answer, cachedTokens, post } from './openai-client.ts'
import { eventually, type Process } from './process.ts'

const ADDRESSES = ['127.0.0.2', '127.0.0.3', '127.0.0.4']
const CONVERSATIONS = 20
const BLOCK_TOKENS = 64

interface EndpointPage {
  readonly address: string
  readonly inFlight: number
  readonly running?: number
  readonly blocks: number
}
interface DecisionPage {
  readonly endpoints: readonly string[]
  readonly profiles: readonly {
    readonly endpoints: readonly {
      readonly endpoint: string
      readonly scores: Record<string, { readonly terms?: { readonly queue: number } }>
    }[]
  }[]
  readonly predictedCachedTokens: number
  readonly usage?: { readonly cachedTokens?: number }
}

describe("Alibaba's ACK scenario: real Envoy, three engines that connect to the bound 5557", function () {
  this.timeout(120_000)
  const engines: Process[] = []
  let epp: Epp
  let envoy: Envoy

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    epp = await Epp.start([
      ...ADDRESSES.flatMap((address, i) => ['--endpoint', `qwen3-${i}=${address}:8000`]),
      ...['--tokenizers-dir', tokenizersDir()],
    ])
    for (const address of ADDRESSES) {
      const events = {
        enable_kv_cache_events: true,
        publisher: 'zmq',
        endpoint: 'tcp://127.0.0.1:5557',
        topic: `kv@${address}@Qwen3-32B`,
      }
      const engine = await startEngine(
        [
          ...['--host', address, '--port', '8000', '--served-model-name', 'Qwen3-32B'],
          ...['--max-model-len', '8192', '--engine-version', '0.10.0'],
          ...['--kv-events-config', JSON.stringify(events), '--tokenizers-dir', tokenizersDir()],
          ...['--prefix-caching-hash-algo', 'sha256_cbor_64bit', '--block-size', '64'],
        ],
        { PYTHONHASHSEED: '42' },
      )
      engines.push(engine.process)
    }
    envoy = await Envoy.start(epp.ports.grpc)
    await eventually('every endpoint is scraped', async () =>
      (await epp.json<{ state: string }[]>('/endpoints')).every(({ state }) => state === 'scraped'),
    )
  })

  after(async () => {
    await envoy?.stop()
    await epp?.stop()
    for (const engine of engines) await engine.stop()
  })

  const send = (body: string, id: string) =>
    post(`${envoy.url}/v1/chat/completions`, body, { 'x-request-id': id })
  const blocks = async () =>
    (await epp.json<EndpointPage[]>('/endpoints')).reduce((sum, each) => sum + each.blocks, 0)
  const handledAddress = (id: string) =>
    epp.process.line(
      (line) => line.msg === 'Request handled' && line['x-request-id'] === id,
      `line "Request handled" of ${id}`,
    ) as Promise<{ endpoint?: { Address: string } }>
  /** The address that served, after checking that log, decision and the engine's own count agree. */
  const servedBy = async (id: string, answer: Answer) => {
    assert.equal(answer.status, 200)
    const decision = await eventually(`the end of ${id} is seen`, async () => {
      const page = await epp.json<DecisionPage>(`/decisions/${id}`)
      return page.usage ? page : undefined
    })
    const address = (await handledAddress(id)).endpoint!.Address
    assert.equal(decision.endpoints[0], `${address}:8000`)
    assert.equal(cachedTokens(answer), decision.predictedCachedTokens, `prediction of ${id}`)
    assert.equal(cachedTokens(answer), decision.usage!.cachedTokens ?? 0)
    return address
  }

  /** Seconds of prompts that waited at an endpoint when a request was picked. */
  const waitedAt = async (address: string, id: string) => {
    const { profiles } = await epp.json<DecisionPage>(`/decisions/${id}`)
    const at = profiles[0]!.endpoints.find(({ endpoint }) => endpoint === `${address}:8000`)
    return at!.scores['cost-scorer']!.terms!.queue
  }

  const allIdle = () =>
    eventually('all reservations are released, and the last scrapes saw idle engines', async () =>
      (await epp.json<EndpointPage[]>('/endpoints')).every(
        ({ inFlight, running }) => inFlight === 0 && running === 0,
      ),
    )

  it("sends the documents' two rounds to one endpoint, where 128 tokens are cached", async () => {
    const round1 = await send(documentBody('round1'), 'round1')
    await eventually('the events of round1 are applied', async () => (await blocks()) >= 3)
    const round2 = await send(documentBody('round2'), 'round2')
    assert.equal(round1.usage!.prompt_tokens, 197)
    assert.equal(round2.usage!.prompt_tokens, 309)
    assert.equal(cachedTokens(round2), 128)
    assert.equal(await servedBy('round1', round1), await servedBy('round2', round2))
  })

  it(`keeps ${CONVERSATIONS} parallel conversations where they began`, async () => {
    await allIdle()
    const before = await blocks()
    const conversation = (i: number, round: 'round1' | 'round2') =>
      documentBody(round).replace('"Hi, here', `"Conversation ${i}: hi, here`)
    const ids = Array.from({ length: CONVERSATIONS }, (_, i) => i)
    const first = await Promise.all(ids.map((i) => send(conversation(i, 'round1'), `c${i}r1`)))
    await eventually(
      'the events of every round1 are applied',
      async () => (await blocks()) >= before + 3 * CONVERSATIONS,
    )
    // What the first round has left under way would count as load of the second.
    await allIdle()
    const second = await Promise.all(ids.map((i) => send(conversation(i, 'round2'), `c${i}r2`)))
    const used = new Set<string>()
    let moved = 0
    for (const i of ids) {
      const address = await servedBy(`c${i}r1`, first[i]!)
      used.add(address)
      const next = await servedBy(`c${i}r2`, second[i]!)
      if (next === address) {
        assert.equal(cachedTokens(second[i]!) % BLOCK_TOKENS, 0)
        assert.ok(cachedTokens(second[i]!) >= 2 * BLOCK_TOKENS)
        continue
      }
      // On a busy machine prompts do not arrive in turn: two that wait at one engine alone are worth a prompt of this length.
      moved++
      const waited = await waitedAt(address, `c${i}r2`)
      const here = await waitedAt(next, `c${i}r2`)
      assert.ok(waited - here > 0.015, `conversation ${i} leaves ${waited} s for ${here} s`)
    }
    assert.ok(moved <= CONVERSATIONS / 5, `${moved} conversations have moved`)
    assert.equal(used.size, ADDRESSES.length, 'the conversations are spread over all endpoints')
  })

  it('has no load left when all have ended', () => allIdle())

  it('has counted the tokens of every prompt as the engines do', async () => {
    assert.doesNotMatch(await epp.page('/metrics'), /^epp_token_count_mismatches_total\{/m)
    assert.match(await epp.page('/metrics'), /^epp_tokenized_requests_total\{.*"exact".*\} [1-9]/m)
  })
})
