import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type ExtProcServer, startExtProcServer } from '../../../src/extproc/server.ts'
import {
  bodyOf,
  type ProcessingRequest,
  type ProcessingResponse,
  processMethod,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
} from '../client.ts'
import { CountingMetrics, keepingLogger, QueueRouter, SwitchedHealth, until } from '../fakes.ts'

const FOLDER = '.cache/grpcio-1.76.0'
const CLIENT = fileURLToPath(new URL('client.py', import.meta.url))
const BODY = '{"model":"m","prompt":"p"}'

interface Ended {
  readonly code: string
  readonly details: string
  readonly answers: readonly string[]
}

const encoded = (requests: readonly ProcessingRequest[]) =>
  requests.map((each) => processMethod.requestSerialize(each).toString('base64'))

/** Whether Python's gRPC client is there; in CI it must be. */
function grpcioAvailable(): boolean {
  if (existsSync(`${FOLDER}/complete`)) return true
  if (process.env.CI) throw new Error(`${FOLDER} is missing; run scripts/install-grpcio.sh`)
  console.log(`      SKIPPED: ${FOLDER} is missing; run scripts/install-grpcio.sh`)
  return false
}

describe("ext_proc port, by Python's gRPC client", function () {
  this.timeout(60_000)
  let router: QueueRouter
  let server: ExtProcServer
  let python: ChildProcess
  let replies: AsyncIterator<string>

  before(function () {
    if (!grpcioAvailable()) return this.skip()
    python = spawn(`${FOLDER}/bin/python`, [CLIENT], { stdio: ['pipe', 'pipe', 'inherit'] })
    replies = createInterface(python.stdout!)[Symbol.asyncIterator]()
  })
  after(() => python?.kill())
  beforeEach(async () => {
    router = new QueueRouter()
    server = await startExtProcServer(
      {
        router,
        health: new SwitchedHealth(),
        logger: keepingLogger(),
        metrics: new CountingMetrics(),
      },
      { host: '127.0.0.1', grpcPort: 0, grpcHealthPort: 0, secureServing: false },
    )
  })
  afterEach(async () => {
    await until(() => server?.active === 0, 'no exchange is left')
    await server.stop(0)
  })

  const ask = async (
    requests: readonly ProcessingRequest[],
    more: object = {},
  ): Promise<Ended & { readonly responses: readonly ProcessingResponse[] }> => {
    const question = {
      target: `127.0.0.1:${server.grpcPort}`,
      path: processMethod.path,
      messages: encoded(requests),
      nextAfter: 0,
      next: [],
      compression: null,
      timeout: null,
      cancelAfter: null,
      closeFirst: false,
      ...more,
    }
    python.stdin!.write(`${JSON.stringify(question)}\n`)
    const ended = JSON.parse((await replies.next()).value) as Ended
    const decode = (text: string) => processMethod.responseDeserialize(Buffer.from(text, 'base64'))
    return { ...ended, responses: ended.answers.map(decode) }
  }
  const request = [requestHeaders(), requestBody(BODY, true)]
  const response = [responseHeaders({ ':status': '200' }), responseBody('{}', true)]

  for (const compression of [null, 'gzip', 'deflate']) {
    it(`a large request, ${compression ?? 'not'} compressed, and its end`, async () => {
      const body = JSON.stringify({ model: 'm', prompt: 'x'.repeat(1_000_000) })
      const { code, responses } = await ask([requestHeaders(), requestBody(body, true)], {
        compression,
        cancelAfter: 18,
      })
      assert.ok(bodyOf(responses, 'requestBody').equals(Buffer.from(body)))
      assert.equal(code, 'CANCELLED')
      await until(() => router.last.ends.length === 1, 'it is over')
    })
  }

  it('a response, and the end of the stream', async () => {
    const { code, responses } = await ask(request, { nextAfter: 2, next: encoded(response) })
    assert.deepEqual([code, responses.length], ['OK', 4])
    assert.equal(bodyOf(responses, 'requestBody').toString(), BODY)
    assert.equal(bodyOf(responses, 'responseBody').toString(), '{}')
    assert.deepEqual(router.last.ends, ['completed'])
  })

  it('a half-close before anything else, and a deadline', async () => {
    assert.equal((await ask([], { closeFirst: true })).code, 'OK')
    router.hold()
    const { code, answers } = await ask(request, { timeout: 0.2 })
    assert.deepEqual([code, answers], ['DEADLINE_EXCEEDED', []])
    router.release()
  })

  it('a message that is none, and a method that there is not', async () => {
    const bad = await ask([], { messages: [Buffer.of(0x0f).toString('base64')] })
    assert.deepEqual(
      [bad.code, bad.details],
      ['INVALID_ARGUMENT', 'the message is not a ProcessingRequest'],
    )
    const other = await ask([], { path: '/a.B/C%d', closeFirst: true })
    assert.deepEqual(
      [other.code, other.details],
      ['UNIMPLEMENTED', 'The server does not implement the method /a.B/C%d'],
    )
  })
})
