import assert from 'node:assert/strict'
import { credentials } from '@grpc/grpc-js'
import { Epp } from '../e2e/epp.ts'
import { eventually } from '../e2e/process.ts'
import {
  bodyOf,
  Gateway,
  requestBody,
  requestHeaders,
  responseBody,
  responseHeaders,
  setHeaders,
} from '../extproc/client.ts'

/** What a gateway is told about one request. */
export type Outcome =
  | { readonly destination: string; readonly body: Buffer }
  | {
      readonly status: number
      readonly error: { readonly message: string; readonly type: string; readonly code: string }
    }

export interface Question {
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Bytes of one message of the body. */
  readonly chunkBytes?: number
}

const DESTINATION = 'x-gateway-destination-endpoint'
const CHUNK_BYTES = 1024 * 1024

/** A picker process, and a plain gRPC client in the place of Envoy. */
export class Conversation {
  readonly epp: Epp
  readonly gateway: Gateway
  /** Everything that clients were told. */
  readonly answers: string[] = []
  #count = 0

  constructor(epp: Epp) {
    this.epp = epp
    this.gateway = new Gateway(`127.0.0.1:${epp.ports.grpc}`, credentials.createInsecure())
  }

  /** Starts a picker in plaintext on free ports. */
  static async start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Conversation> {
    const epp = await Epp.start(
      [
        ...['--secure-serving=false', '--kv-events-bind', 'tcp://127.0.0.1:*', '--seed', '42'],
        ...args,
      ],
      env,
    )
    return new Conversation(epp)
  }

  async stop(): Promise<void> {
    this.gateway.close()
    await this.epp.stop()
  }

  /** Sends one request; when it is routed, the response of a model server follows. */
  async ask(body: string | Buffer, question: Question = {}): Promise<Outcome> {
    const { path = '/v1/completions', headers = {}, chunkBytes = CHUNK_BYTES } = question
    const bytes = Buffer.from(body)
    const exchange = this.gateway.open()
    exchange.send(requestHeaders({ ':path': path, ...headers }))
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      exchange.send(requestBody(bytes.subarray(at, at + chunkBytes)))
    }
    exchange.send(requestBody('', true))
    const given = await exchange.untilEnd('requestBody')
    const refusal = given.find(({ response }) => response === 'immediateResponse')
    if (refusal !== undefined) {
      const { status, body: text } = refusal.immediateResponse!
      this.answers.push(text.toString())
      assert.equal(setHeaders(refusal)['content-type'], 'application/json')
      return { status: status.code, error: JSON.parse(text.toString()).error }
    }
    const destination = setHeaders(given[0])[DESTINATION]
    if (destination === undefined) {
      throw new Error(`no answer: ${JSON.stringify(await exchange.status)}`)
    }
    exchange.send(responseHeaders({ ':status': '200', 'content-type': 'application/json' }))
    exchange.send(responseBody('{}', true))
    await exchange.rest()
    return { destination, body: bodyOf(given, 'requestBody') }
  }

  /** Fails unless an ordinary request is served, and its end is seen. */
  async serves(prompt = 'an ordinary prompt'): Promise<void> {
    const id = `ordinary-${this.#count++}`
    const outcome = await this.ask(JSON.stringify({ model: 'm', prompt }), {
      headers: { 'x-request-id': id },
    })
    assert.ok('destination' in outcome, `refused: ${JSON.stringify(outcome)}`)
    await eventually(`the end of ${id} is seen`, async () => {
      const { ended } = await this.epp.json<{ ended?: string }>(`/decisions/${id}`)
      return ended === 'completed' || undefined
    })
  }

  /** Value of a counter; 0 when it was never counted. */
  async count(sample: string): Promise<number> {
    return (await this.epp.metric(sample)) ?? 0
  }

  /** Waits until no request is under way and nothing is held for one. */
  async settled(): Promise<void> {
    await eventually('no exchange is left', async () => {
      const page = await this.epp.page('/metrics')
      const values = page
        .split('\n')
        .filter((line) =>
          /^epp_(extproc_(exchanges_active|buffered_bytes)|requests_in_flight)/.test(line),
        )
      assert.ok(values.length >= 2)
      return values.every((line) => line.endsWith(' 0')) || undefined
    })
  }
}
