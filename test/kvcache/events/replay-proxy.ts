import { Dealer, Router } from 'zeromq'
import { portOf, track } from './sockets.ts'

/** What becomes of one message of an answer: passed on, changed, or the end of all answers to this question. */
export type Fault = (
  frames: readonly Buffer[],
  at: { readonly question: number; readonly index: number },
) => readonly Buffer[] | 'stop' | Promise<readonly Buffer[] | 'stop'>

/** A replay socket before an engine's own, which can be slow, break off, or lie. */
export class ReplayProxy {
  readonly port: number
  readonly #router: Router
  readonly #enginePort: number
  fault: Fault = (frames) => frames
  questions = 0

  private constructor(router: Router, enginePort: number) {
    this.#router = router
    this.#enginePort = enginePort
    this.port = portOf(router.lastEndpoint!)
    void this.#serve()
  }

  static async start(enginePort: number): Promise<ReplayProxy> {
    const router = track(new Router({ linger: 0, sendHighWaterMark: 0 }))
    await router.bind('tcp://127.0.0.1:0')
    return new ReplayProxy(router, enginePort)
  }

  async #serve(): Promise<void> {
    while (!this.#router.closed) {
      try {
        const [identity, , start] = await this.#router.receive()
        void this.#answer(identity!, start!, this.questions++)
      } catch (error) {
        if (!this.#router.closed) throw error
      }
    }
  }

  async #answer(identity: Buffer, start: Buffer, question: number): Promise<void> {
    const engine = new Dealer({ linger: 0, receiveHighWaterMark: 0, receiveTimeout: 10_000 })
    try {
      engine.connect(`tcp://127.0.0.1:${this.#enginePort}`)
      await engine.send([Buffer.alloc(0), start])
      for (let index = 0; ; index++) {
        const frames = await engine.receive()
        const sent = await this.fault(frames, { question, index })
        if (sent === 'stop') return
        await this.#router.send([identity, ...sent])
        if (frames.at(-1)!.length === 0) return
      }
    } catch (error) {
      if (!this.#router.closed) throw error
    } finally {
      engine.close()
    }
  }
}
