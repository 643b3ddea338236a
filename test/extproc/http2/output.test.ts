import assert from 'node:assert/strict'
import { until } from '../fakes.ts'
import { EchoServer } from './echo-server.ts'
import { RawClient, request } from './raw-client.ts'

const IDS = [1, 3, 5]

describe('Output', () => {
  let server: EchoServer
  let client: RawClient
  let writes: number
  beforeEach(async () => {
    server = await EchoServer.start()
    server.data = () => {}
    client = await RawClient.greet(server.port)
    client.write(...IDS.map((id) => request(id)))
    await client.caughtUp()
    const socket = server.sockets[0]!
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean
    writes = 0
    socket.write = (...args: unknown[]) => {
      writes++
      return write(...args)
    }
  })
  afterEach(() => server.stop())

  /** Answers each stream in a callback of its own, all of them in one turn; tells how many writes there were after each. */
  const answerInTurn = (body: Buffer) =>
    new Promise<readonly number[]>((resolve) => {
      const after: number[] = []
      for (const id of IDS) {
        setImmediate(() => {
          after.push(writes)
          server.answer(id, body)
        })
      }
      setImmediate(() => resolve(after))
    })

  it('sends what several callbacks of a turn answer with one write', async () => {
    await answerInTurn(Buffer.from('hello'))
    await until(() => IDS.every((id) => client.hasEnded(id)), 'all are answered')
    assert.equal(writes, 1)
    assert.equal(client.data(5).toString(), 'hello')
  })

  it('sends what fills a write when the callback ends', async () => {
    const after = await answerInTurn(Buffer.alloc(70_000, 'x'))
    assert.equal(after[0], 0)
    assert.ok(after[1]! > 0)
  })
})
