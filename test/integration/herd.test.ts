import assert from 'node:assert/strict'
import { App } from '../../src/app.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { Routed } from '../../src/framework/services.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { type RunningSimEngine, startSimEngine } from '../../src/sim-engine.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { eventually } from '../e2e/process.ts'
import { defaultOptions } from './options.ts'

const ENDPOINTS = 8
const BLOCK_TOKENS = 64
const silent = createLogger({ format: 'text', level: 'error', write() {}, epochMs: Date.now })
const never = new Cancellation()

describe('the default profile with 8 idle equal endpoints', function () {
  this.timeout(60_000)
  const engines: RunningSimEngine[] = []
  let app: App

  beforeEach(async () => {
    for (let i = 0; i < ENDPOINTS; i++) {
      engines.push(
        await startSimEngine(simEngineOptions({ port: '0', blockSize: `${BLOCK_TOKENS}` }), silent),
      )
    }
    app = await App.start({
      ...defaultOptions(),
      endpoints: engines.map(({ port }, i) => `engine-${i}=127.0.0.1:${port}`),
      seed: 42,
    })
    await eventually('all endpoints are scraped', async () => {
      const page = await fetch(`http://127.0.0.1:${app.ports.metrics}/endpoints`)
      return ((await page.json()) as { state: string }[]).every(({ state }) => state === 'scraped')
    })
  })

  afterEach(async () => {
    await app.close()
    for (const engine of engines.splice(0)) await engine.close()
  })

  const route = (prompt: readonly number[]): Promise<Routed> =>
    app.router.route(
      {
        headers: new Map([[':path', '/v1/completions']]),
        body: [Buffer.from(JSON.stringify({ model: 'Qwen3-32B', prompt }))],
        subset: undefined,
      },
      never,
    )
  /** Prompts of whole blocks and one token more, all ids different from those of other seeds. */
  const prompt = (seed: number, blocks: number) =>
    Array.from({ length: blocks * BLOCK_TOKENS + 1 }, (_, i) => seed * 10_000 + i)
  const counts = (routed: readonly Routed[]) => {
    const byEndpoint = new Map<string, number>()
    for (const { destination } of routed) {
      byEndpoint.set(destination, (byEndpoint.get(destination) ?? 0) + 1)
    }
    return [...byEndpoint.values()].sort((a, b) => b - a)
  }

  it('spreads 200 distinct prompts of 4 blocks in one tick: none gets more than 32', async () => {
    const routed = await Promise.all(Array.from({ length: 200 }, (_, i) => route(prompt(i, 4))))
    console.log(`      requests per endpoint: ${counts(routed).join(' ')}`)
    assert.ok(counts(routed)[0]! <= 32)
  })

  it('uses at least 4 endpoints for 200 equal prompts of 20 blocks in one tick: none gets more than 100', async () => {
    const routed = await Promise.all(Array.from({ length: 200 }, () => route(prompt(1, 20))))
    console.log(`      requests per endpoint: ${counts(routed).join(' ')}`)
    assert.ok(counts(routed).length >= 4)
    assert.ok(counts(routed)[0]! <= 100)
  })

  it('spreads 64 distinct prompts, each ended before the next: none gets more than 16', async () => {
    const routed: Routed[] = []
    for (let i = 0; i < 64; i++) {
      const one = await route(prompt(i, 4))
      one.end('completed')
      routed.push(one)
    }
    console.log(`      requests per endpoint: ${counts(routed).join(' ')}`)
    assert.ok(counts(routed)[0]! <= 16)
  })
})
