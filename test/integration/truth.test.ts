import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { Publisher } from 'zeromq'
import { App } from '../../src/app.ts'
import { parseTopic } from '../../src/kvcache/events/topic.ts'
import { eventually } from '../e2e/process.ts'
import { Gateway, requestBody, requestHeaders } from '../extproc/client.ts'
import { loadRecording, type RecordedMessage, recordingNames } from '../kvcache/recordings.ts'
import { defaultOptions } from './options.ts'

/** Nothing but tracked blocks decides. */
const PROFILE = `schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 1, parameters: { speculativeIndexing: false } }
      - { type: max-score-picker }
`

interface Publishers {
  send(message: RecordedMessage): Promise<void>
  close(): void
}

/** The engine's side: sockets that connect to the picker's bound one, or a bound one that the picker dials. */
async function openPublishers(
  ranks: readonly number[],
  connectTo: string | undefined,
  bindPort: number,
) {
  const sockets = new Map<number, Publisher>()
  for (const rank of ranks) {
    const socket = new Publisher({ linger: 0, sendHighWaterMark: 0 })
    if (connectTo === undefined) await socket.bind(`tcp://127.0.0.1:${bindPort}`)
    else socket.connect(connectTo)
    sockets.set(rank, socket)
  }
  return {
    send: ({ frames, src }) => sockets.get(src ?? 0)!.send([...frames]),
    close: () => {
      for (const socket of sockets.values()) socket.close()
    },
  } satisfies Publishers
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

describe('what real engines had cached', function () {
  this.timeout(120_000)
  let judged = 0

  for (const name of recordingNames()) {
    it(`is predicted for every judged request of ${name}`, async () => {
      const recording = loadRecording(name)
      const topic = parseTopic(recording.messages[0]!.topic)!
      const ranks = [...new Set(recording.messages.map(({ src }) => src ?? 0))]
      // These engines bound their event socket, so the picker dials; two ranks of one endpoint connect.
      const dialled = /default|xxhash|v0\.32.*-lora/.test(name)
      const dialPort = await freePort()
      const { kvEventsBind: bind, ...options } = defaultOptions()
      const lines: Record<string, unknown>[] = []
      const app = await App.start({
        ...options,
        ...(dialled ? { kvEventsDial: dialPort } : { kvEventsBind: bind! }),
        configText: PROFILE,
        endpoints: [`engine=${topic.address}:${topic.port ?? 8000}`],
        logLevel: 'info',
        write: (line) => lines.push(JSON.parse(line)),
      })
      const page = async (path: string) =>
        (await fetch(`http://127.0.0.1:${app.ports.metrics}${path}`)).json() as Promise<unknown>
      const bound = lines.find(({ msg }) => msg === 'Serving')?.kvEvents as string | undefined
      const publishers = await openPublishers(ranks, bound, dialPort)
      const gateway = new Gateway(`127.0.0.1:${app.ports.grpc}`)
      try {
        const sent = new Map<number, number>()
        /** A subscription takes a moment: the first message is sent until it has come. */
        const send = async (message: RecordedMessage) => {
          const rank = message.src ?? 0
          const first = !sent.has(rank)
          sent.set(rank, message.sequence)
          await publishers.send(message)
          if (!first) return
          await eventually('the first message arrives', async () => {
            if (await applied()) return true
            await publishers.send(message)
            return undefined
          })
        }
        const applied = async () => {
          const [endpoint] = (await page('/endpoints')) as {
            publishers: { rank: number; lastSequence: number }[]
          }[]
          return [...sent].every(([rank, sequence]) =>
            endpoint!.publishers.some(
              (each) => each.rank === rank && each.lastSequence === sequence,
            ),
          )
        }
        let fed = 0
        const wrong: string[] = []
        for (const { recorded, tokens, cachedTokens, rank } of recording.judged) {
          for (; fed < recorded.event_count_before; fed++) await send(recording.messages[fed]!)
          await eventually('the events are applied', async () => (await applied()) || undefined)
          const id = `${name}-${recorded.i}`
          const { model, cache_salt } = recorded.request
          const exchange = gateway.open()
          exchange.send(
            requestHeaders({
              'x-request-id': id,
              ...(rank !== undefined && { 'x-data-parallel-rank': rank }),
            }),
          )
          exchange.send(requestBody(JSON.stringify({ model, prompt: tokens, cache_salt }), true))
          const answer = await exchange.next()
          assert.equal(answer?.response, 'requestHeaders')
          exchange.cancel()
          const decision = (await page(`/decisions/${id}`)) as { predictedCachedTokens: number }
          judged++
          if (decision.predictedCachedTokens !== cachedTokens) {
            wrong.push(
              `${recorded.name}: predicted ${decision.predictedCachedTokens}, engine ${cachedTokens}`,
            )
          }
        }
        assert.deepEqual(wrong, [])
      } finally {
        gateway.close()
        publishers.close()
        await app.close()
      }
    })
  }

  after(() => console.log(`      ${judged} requests of real engines judged`))
})
