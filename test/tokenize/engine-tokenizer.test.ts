import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { EngineTokenizer } from '../../src/tokenize/engine-tokenizer.ts'

const text = (content: string) => ({ kind: 'text' as const, texts: [content] })

describe('EngineTokenizer', () => {
  let server: Server
  let url: string
  let asked: number
  /** Questions, by number, whose connection is closed instead of an answer. */
  let cut: ReadonlySet<number>
  let tokenizer: EngineTokenizer

  beforeEach(async () => {
    asked = 0
    cut = new Set()
    server = createServer((request, response) => {
      const question = ++asked
      if (cut.has(question)) {
        request.socket.destroy()
        return
      }
      response.setHeader('content-type', 'application/json')
      request.resume().on('end', () => response.end(JSON.stringify({ tokens: [question] })))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    tokenizer = new EngineTokenizer({ insecureSkipVerify: false })
  })
  afterEach(async () => {
    await tokenizer.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  const ids = async (content: string, signal = new AbortController().signal) => {
    const answer = await tokenizer.tokenize(url, 'qwen', text(content), signal)
    return 'fault' in answer ? answer : Array.from(answer.prompts[0]!)
  }

  it('asks again where the engine closes the connection', async () => {
    cut = new Set([2])
    assert.deepEqual(await ids('one'), [1])
    assert.deepEqual(await ids('two'), [3])
    assert.equal(asked, 3)
  })

  it('does not ask a third time', async () => {
    cut = new Set([1, 2])
    const refusal = await ids('one')
    assert.ok('fault' in refusal)
    assert.equal(refusal.fault, 'connect')
    assert.match(refusal.doubt.text, /\/tokenize failed: (UND_ERR_SOCKET|ECONNRESET)$/)
    assert.equal(asked, 2)
  })

  it('answers from memory what it asked before', async () => {
    assert.deepEqual(await ids('one'), [1])
    assert.deepEqual(await ids('one'), [1])
    assert.equal(asked, 1)
  })
})
