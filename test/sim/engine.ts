import type { KvEvent, Tokenizer } from '../../src/framework/services.ts'
import { createEngineBlockHasher } from '../../src/kvcache/hashing/engine-hash.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { SimEngine } from '../../src/sim/sim-engine.ts'
import { clock, memoryLogger } from '../tokenize/services.ts'

/** A running engine, with the messages that it published. */
export interface RunningEngine {
  readonly engine: SimEngine
  readonly url: string
  readonly messages: (readonly KvEvent[])[]
}

/** Starts an engine on a free port; its flags are given by name. */
export async function startEngine(
  tokenizer: Tokenizer,
  flags: Readonly<Record<string, string>> = {},
): Promise<RunningEngine> {
  const options = simEngineOptions({ port: '0', seed: '42', decodeMs: '1', ...flags })
  const messages: (readonly KvEvent[])[] = []
  const engine = new SimEngine({
    options,
    tokenizer,
    hasher: createEngineBlockHasher(options.hashAlgorithm, options.hashSeed),
    publishers: [{ publish: (events) => void messages.push(events), close: async () => {} }],
    openAi: openAiApi,
    clock,
    logger: memoryLogger(),
  })
  const { port } = await engine.start()
  return { engine, url: `http://${options.host}:${port}`, messages }
}

/** The answer to a POST of JSON. */
export async function post(
  url: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly body: string; readonly headers: Headers }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, body: await response.text(), headers: response.headers }
}
