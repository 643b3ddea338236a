import { createServer, type Server } from 'node:http'
import { simEngineOptions } from '../../src/sim/options.ts'
import { type RunningSimEngine, startSimEngine } from '../../src/sim-engine.ts'
import { createLogger } from '../../src/telemetry/logger.ts'

/** The model of all engines. */
export const MODEL = 'Qwen3-32B'
/** An adapter that every engine can serve. */
export const ADAPTER = 'sql-adapter'
export const NAMES = ['a', 'b', 'c', 'd'] as const
export type Name = (typeof NAMES)[number]

/** Requests that an engine of a fleet runs at once; further ones wait. */
export const MAX_RUNNING = 4
const KV_TOKENS = 12_800
/** Where engines connect that are not dialled. */
export const EVENTS = 'tcp://127.0.75.9:5557'

export const REPLAY_PORT = 5558
/** Who connects to whom for events. */
export type EventsWay = 'engines connect' | 'picker dials'

const silent = createLogger({ format: 'text', level: 'error', write() {}, epochMs: Date.now })

/** The address that an engine has to itself, at port 8000. */
export const addressOf = (name: Name) => `127.0.75.${NAMES.indexOf(name) + 1}`
/** The engine at a destination, `address:port`. */
export const nameOf = (destination: string) => NAMES[Number(destination.split(/[.:]/)[3]) - 1]!

/** A quick engine with a small cache, whose events, if any, can be asked for again. */
export function startFleetEngine(
  name: Name,
  { events, blockTokens = 64 }: { readonly events?: EventsWay; readonly blockTokens?: number },
): Promise<RunningSimEngine> {
  const publish = {
    enable_kv_cache_events: true,
    publisher: 'zmq',
    endpoint: events === 'picker dials' ? 'tcp://*:5556' : EVENTS,
    topic: `kv@${addressOf(name)}@${MODEL}`,
    replay_endpoint: `tcp://*:${REPLAY_PORT}`,
  }
  const flags = {
    ...{ host: addressOf(name), port: '8000', servedModelName: MODEL, seed: '42' },
    ...{ blockSize: `${blockTokens}`, numGpuBlocks: `${KV_TOKENS / blockTokens}` },
    ...{ maxNumSeqs: `${MAX_RUNNING}`, decodeMs: '2', prefillTokensPerSecond: '1000000' },
    loraModules: [`${ADAPTER}=/adapters/sql`],
    ...(events !== undefined && { kvEventsConfig: JSON.stringify(publish) }),
  }
  return startSimEngine(simEngineOptions(flags), silent)
}

let spoken = 0

/** Has an engine compute a block, of which it tells. */
export async function speak(name: Name): Promise<void> {
  const prompt = Array.from({ length: 65 }, () => spoken++)
  const response = await fetch(`http://${addressOf(name)}:8000/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL, prompt, max_tokens: 1 }),
  })
  await response.text()
}

/** Servers at port 8001 that answer with an engine's page of metrics, edited. */
export function metricsPages(edit: (name: Name, page: string) => string): Promise<Server[]> {
  return Promise.all(
    NAMES.map(async (name) => {
      const server = createServer(async (asked, answer) => {
        const response = await fetch(`http://${addressOf(name)}:8000${asked.url}`)
        const text = await response.text()
        answer.end(asked.url === '/metrics' ? edit(name, text) : text)
      })
      await new Promise<void>((done) => server.listen(8001, addressOf(name), done))
      return server
    }),
  )
}
