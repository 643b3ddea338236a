import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { encode } from '@msgpack/msgpack'
import { Publisher } from 'zeromq'
import { seededRandom } from '../../src/framework/random.ts'
import { eventually } from '../e2e/process.ts'
import { message, stored } from '../kvcache/events.ts'
import { assertNoCanary, CANARY } from './canary.ts'
import { Conversation } from './conversation.ts'
import { inMebibytes, MEBIBYTE, residentBytes } from './memory.ts'
import { RogueEngine } from './rogue-engine.ts'

const HOST = '127.0.0.91'
const OTHER_HOST = '127.0.0.92'
const TOPIC = `kv@${HOST}@m`
const BLOCK_TOKENS = 16
const BLOCKS = 4

/** Nothing but tracked blocks decides. */
const PROFILE = `schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 1, parameters: { speculativeIndexing: false } }
      - { type: max-score-picker }
`

/** A store of the canary's tokens: what the good publisher sends. */
const event = (fields: Readonly<Record<string, unknown>> = {}) =>
  stored({
    blocks: BLOCKS,
    blockTokens: BLOCK_TOKENS,
    fields: { token_ids: Array(BLOCKS * BLOCK_TOKENS).fill(CANARY.token), ...fields },
  })

const sequence = (value: bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(value)
  return bytes
}
const [, FIRST, PAYLOAD] = message(TOPIC, 1, [event()])
const batch = (...events: unknown[]) => Buffer.from(encode([1, events, 0], { useBigInt64: true }))
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

interface Wrong {
  readonly frames: readonly Uint8Array[]
  readonly result: string
}
const topic = (text: string | Buffer, result = 'bad_topic'): Wrong => ({
  frames: [Buffer.from(text), FIRST, PAYLOAD],
  result,
})
const payload = (bytes: Uint8Array, result = 'malformed'): Wrong => ({
  frames: [Buffer.from(TOPIC), FIRST, bytes],
  result,
})

const WRONG: Readonly<Record<string, Wrong>> = {
  'an empty topic': topic(''),
  'a topic kv@': topic('kv@'),
  'a topic whose variable was not set': topic(`kv@\${POD_IP}@m`),
  'a topic without kv@': topic(`${HOST}@m`),
  'a topic without a model': topic(`kv@${HOST}`),
  'a topic with a host name': topic('kv@localhost@m'),
  'a topic with an impossible address': topic('kv@999.0.0.1@m'),
  'a topic with an impossible port': topic(`kv@${HOST}:99999@m`),
  'a topic with line ends and escapes': topic('kv@\n[+] forged: all is well\r\n\x1b[2J@m'),
  'a topic of bytes that are no text': topic(Buffer.from([0xff, 0xfe, 0, 1, 0x80])),
  'a topic of 2,000 bytes': topic(`kv@${HOST}@${'m'.repeat(2000)}`, 'bad_frames'),
  'an address that discovery does not know': topic('kv@10.9.8.7@m', 'unknown_endpoint'),
  'a port that discovery does not know': topic(`kv@${HOST}:1@m`, 'unknown_endpoint'),
  'one frame': { frames: [Buffer.from(TOPIC)], result: 'bad_frames' },
  'two frames': { frames: [Buffer.from(TOPIC), PAYLOAD], result: 'bad_frames' },
  'four frames': { frames: [Buffer.from(TOPIC), FIRST, PAYLOAD, PAYLOAD], result: 'bad_frames' },
  'a sequence of seven bytes': {
    frames: [Buffer.from(TOPIC), FIRST.subarray(1), PAYLOAD],
    result: 'bad_frames',
  },
  'a sequence that no engine reaches': {
    frames: [Buffer.from(TOPIC), sequence(2n ** 64n - 1n), PAYLOAD],
    result: 'bad_frames',
  },
  'an empty payload': payload(Buffer.alloc(0)),
  'a payload of text': payload(Buffer.from(CANARY.text)),
  'a payload that is cut': payload(PAYLOAD.subarray(0, -1)),
  'a payload and more': payload(Buffer.concat([PAYLOAD, hex('c0')])),
  '20 million nested arrays': payload(Buffer.alloc(20_000_000, 0x91)),
  '20 million nested maps': payload(Buffer.alloc(20_000_000, 0x81)),
  'an array said to hold 4 billion': payload(hex('dd ffffffff')),
  'events said to be 4 billion': payload(hex('93 00 ddffffffff 00')),
  'a map said to hold 4 billion': payload(hex('93 00 91 dfffffffff 00')),
  'text said to take 4 GB': payload(hex('93 00 91 dbffffffff 00')),
  'bytes said to take 4 GB': payload(hex('93 00 91 c6ffffffff 00')),
  'an extension said to take 4 GB': payload(hex('93 00 91 c9ffffffff 01 00')),
  'hashes said to be 4 billion': payload(
    Buffer.concat([hex('93 00 91 93'), Buffer.from(encode('BlockStored')), hex('ddffffffff 00')]),
  ),
  'a rank that no engine has': payload(
    Buffer.from(encode([1, [event()], 70_000], { useBigInt64: true })),
  ),
  'a negative rank': payload(Buffer.from(encode([1, [event()], -1], { useBigInt64: true }))),
}

/** Messages that are batches, whose events are not applied. */
const SKIPPED: Readonly<Record<string, readonly unknown[]>> = {
  'an event that is a number': [7],
  'an event without anything': [[]],
  'hashes that are text': [event({ block_hashes: CANARY.text })],
  'tokens that are fractions': [event({ token_ids: Array(64).fill(0.5) })],
  'a block size of 0': [event({ block_size: 0 })],
  'a negative block size': [event({ block_size: -16 })],
  'a block size of 2^31': [event({ block_size: 2 ** 31 })],
  'fewer tokens than blocks need': [event({ token_ids: [CANARY.token] })],
  'a medium of 30 MB': [event({ medium: 'x'.repeat(30_000_000) })],
  'an unknown parent': [event({ parent_block_hash: 12345n })],
}

describe('bad input on the event sockets', function () {
  this.timeout(60_000)
  const engines: RogueEngine[] = []
  const dialled = new Publisher({ linger: 0 })
  const publisher = new Publisher({ linger: 0, sendHighWaterMark: 0 })
  let picker: Conversation
  let address: string
  let sent = 0
  let residentBefore = 0

  before(async () => {
    for (const host of [HOST, OTHER_HOST]) engines.push(await RogueEngine.start(host))
    await dialled.bind(`tcp://${OTHER_HOST}:*`)
    const dialPort = dialled.lastEndpoint!.split(':').at(-1)!
    picker = await Conversation.start([
      ...['--endpoint', `${HOST}:${engines[0]!.port}`],
      ...['--endpoint', `${OTHER_HOST}:${engines[1]!.port}`],
      ...['--kv-events-dial', dialPort, '--config-text', PROFILE, '-v', '4'],
    ])
    address = String(picker.epp.process.logged('Serving')[0]!.kvEvents)
    publisher.connect(address)
    // What is published before the picker's subscription has come is lost.
    await eventually('the first message arrives', async () => {
      await publisher.send([...message(TOPIC, sent, [])])
      return (await lastSequence()) === sent || undefined
    })
    await hears()
    residentBefore = await residentBytes(picker.epp)
  })

  after(async () => {
    publisher.close()
    dialled.close()
    await picker?.stop()
    for (const engine of engines) await engine.stop()
  })

  const lastSequence = async () => {
    const page =
      await picker.epp.json<{ publishers: { topic: string; lastSequence: number }[] }[]>(
        '/endpoints',
      )
    return page.flatMap(({ publishers }) => publishers).find((each) => each.topic === TOPIC)
      ?.lastSequence
  }
  const counted = (result: string) =>
    picker.count(`epp_kv_event_messages_total{result="${result}"}`)
  const skipped = async () =>
    (await picker.epp.page('/metrics'))
      .split('\n')
      .filter((line) => line.startsWith('epp_kv_events_skipped_total{'))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)

  /** Fails unless the next good message is applied, and decides. */
  const hears = async () => {
    await publisher.send([...message(TOPIC, ++sent, [{ type: 'AllBlocksCleared' }, event()])])
    await eventually(
      'the good message is applied',
      async () => (await lastSequence()) === sent || undefined,
    )
    const id = `after-${sent}`
    const prompt = Array(BLOCKS * BLOCK_TOKENS + 1).fill(CANARY.token)
    const body = JSON.stringify({ model: 'm', prompt, stream: false })
    const outcome = await picker.ask(body, { headers: { 'x-request-id': id } })
    assert.ok('destination' in outcome)
    assert.equal(outcome.destination, `${HOST}:${engines[0]!.port}`)
    const decision = await picker.epp.json<{ predictedCachedTokens: number }>(`/decisions/${id}`)
    assert.equal(decision.predictedCachedTokens, BLOCKS * BLOCK_TOKENS)
  }

  for (const [name, { frames, result }] of Object.entries(WRONG)) {
    it(`${name} is dropped and counted: ${result}`, async () => {
      const before = await counted(result)
      await publisher.send([...frames])
      await eventually(
        'it is counted',
        async () => (await counted(result)) === before + 1 || undefined,
      )
      assert.doesNotMatch(await picker.epp.page('/readyz?verbose'), /^\[\+\] forged/m)
      await hears()
    })
  }

  for (const [name, events] of Object.entries(SKIPPED)) {
    it(`${name}: the event is skipped and counted`, async () => {
      const before = await skipped()
      await publisher.send([Buffer.from(TOPIC), sequence(BigInt(++sent)), batch(...events)])
      await eventually('it is counted', async () => (await skipped()) > before || undefined)
      await hears()
    })
  }

  it('every beginning of a good payload is malformed', async () => {
    const before = await counted('malformed')
    for (let length = 0; length < PAYLOAD.length; length++) {
      await publisher.send([Buffer.from(TOPIC), FIRST, PAYLOAD.subarray(0, length)])
    }
    await eventually(
      'all are counted',
      async () => (await counted('malformed')) === before + PAYLOAD.length || undefined,
    )
    await hears()
  })

  it('2,000 messages of random bytes are dropped', async () => {
    const random = seededRandom(3)
    const bytes = (length: number) =>
      Buffer.from(Array.from({ length }, () => Math.floor(random.next() * 256)))
    const dropped = async () => (await counted('bad_topic')) + (await counted('bad_frames'))
    const before = await dropped()
    for (let i = 0; i < 2000; i++) await publisher.send([bytes(i % 40), bytes(8), bytes(i % 200)])
    await eventually(
      'they are counted',
      async () => (await dropped()) === before + 2000 || undefined,
    )
    await hears()
  })

  it("an engine's own socket cannot speak for another engine", async () => {
    const before = await counted('address_mismatch')
    await eventually('it is counted', async () => {
      await dialled.send([...message(TOPIC, 1, [{ type: 'AllBlocksCleared' }])])
      return (await counted('address_mismatch')) > before || undefined
    })
    assert.match(
      await picker.epp.page('/readyz?verbose'),
      new RegExp(
        `kv-address:${OTHER_HOST}.*sends KV events under the topic "${TOPIC}", which names another address`,
      ),
    )
    await hears()
  })

  it('a publisher of a topic with a model of its own cannot clear what another one holds', async () => {
    const before = await counted('other_model')
    await publisher.send([...message(`kv@${HOST}@stranger`, 9, [{ type: 'AllBlocksCleared' }])])
    await eventually(
      'it is dropped',
      async () => (await counted('other_model')) > before || undefined,
    )
    await hears()
    assert.match(await picker.epp.page('/readyz?verbose'), /model "stranger" come from the address/)
  })

  it('no publisher makes the picker keep more than 64 of them', async () => {
    const before = await counted('too_many_publishers')
    for (let rank = 1; rank <= 200; rank++) {
      await publisher.send([...message(TOPIC, 1, [], { rank })])
    }
    await eventually(
      'the rest is dropped',
      async () => (await counted('too_many_publishers')) >= before + 136 || undefined,
    )
    await hears()
  })

  it('bytes that are not of ZMQ, and a message over the limit, end their connection alone', async () => {
    const random = seededRandom(5)
    const { hostname, port } = new URL(address)
    for (const bytes of [
      Buffer.from(`GET / HTTP/1.1\r\n\r\n${CANARY.text}`),
      Buffer.from(Array.from({ length: 10_000 }, () => Math.floor(random.next() * 256))),
    ]) {
      const socket = connect(Number(port), hostname, () => socket.end(bytes))
      socket.on('error', () => {})
      socket.resume()
      await once(socket, 'close')
    }
    const large = new Publisher({ linger: 0 })
    large.events.on('disconnect', () => {})
    large.connect(address)
    const cut = new Promise<void>((resolve) => large.events.on('disconnect', () => resolve()))
    const payload = Buffer.alloc(65 * MEBIBYTE, 0x91)
    const timer = setInterval(
      () => void large.send([Buffer.from(TOPIC), FIRST, payload]).catch(() => {}),
      50,
    )
    await cut
    clearInterval(timer)
    large.close()
    await hears()
  })

  it('takes no memory for what messages claim, and says nothing of their tokens', async () => {
    const now = await residentBytes(picker.epp)
    const rows = Object.keys(WRONG).length + Object.keys(SKIPPED).length
    console.log(`      ${rows} rows`)
    console.log(`      resident ${inMebibytes(residentBefore)}, then ${inMebibytes(now)}`)
    assert.ok(now - residentBefore < 200 * MEBIBYTE)
    const said = picker.epp.process.lines.filter(({ level }) => level === 'warn')
    assert.ok(said.length < 300, `${said.length} warnings`)
    await assertNoCanary(picker.epp, picker.answers)
  })
})
