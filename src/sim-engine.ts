import type { Clock, Logger } from './framework/services.ts'
import { createKvEventPublisher, type ZmqEventPublisher } from './kvcache/events/event-publisher.ts'
import { rankEndpoint } from './kvcache/events/rank-endpoint.ts'
import { createEngineBlockHasher } from './kvcache/hashing/engine-hash.ts'
import { openAiApi } from './openai/openai-api.ts'
import type { KvEventsConfig, SimEngineOptions } from './sim/options.ts'
import { SimEngine } from './sim/sim-engine.ts'
import { PrometheusMetrics } from './telemetry/metrics.ts'
import { createNotices } from './telemetry/notices.ts'
import { PromptTokenizer } from './tokenize/prompt-tokenizer.ts'

const clock: Clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }

export interface RunningSimEngine {
  readonly port: number
  close(): Promise<void>
}

/**
 * Puts a simulated engine together with the tokenizer, hashing and event publisher that the picker's own folders have.
 *
 * @throws {SchedulerError} PORT_IN_USE or START_FAILED
 */
export async function startSimEngine(
  options: SimEngineOptions,
  logger: Logger,
): Promise<RunningSimEngine> {
  const versions = [options.version]
  const tokenizer = new PromptTokenizer({
    tokenizersDir: options.tokenizersDir,
    models: {
      baseOf: (model) =>
        options.loraModules.some(({ name }) => name === model)
          ? options.servedModelName
          : undefined,
    },
    engines: { versions: () => versions, contextTokens: () => undefined },
    clock,
    logger,
    metrics: new PrometheusMetrics(),
    notices: createNotices(clock.epochMs),
    // An engine waits for its own tokenizer as long as it takes.
    budgetMs: 30_000,
  })
  await tokenizer.prepare({ inThread: false })
  const publishers: ZmqEventPublisher[] = []
  try {
    for (let rank = 0; rank < options.dataParallelSize && options.kvEvents; rank++) {
      publishers.push(await publisherOf(rank, options, options.kvEvents))
    }
  } catch (error) {
    await Promise.all(publishers.map((publisher) => publisher.close()))
    await tokenizer.close()
    throw error
  }
  const engine = new SimEngine({
    options,
    tokenizer,
    hasher: createEngineBlockHasher(options.hashAlgorithm, options.hashSeed),
    publishers,
    openAi: openAiApi,
    clock,
    logger,
  })
  const close = async () => {
    await engine.close()
    await Promise.all(publishers.map((publisher) => publisher.close()))
    await tokenizer.close()
  }
  try {
    const { port } = await engine.start()
    return { port, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Each rank has a publisher, at the configured ports plus its own number (vLLM `distributed/kv_events.py`). */
function publisherOf(
  rank: number,
  { version, host }: SimEngineOptions,
  { endpoint, topic, replayEndpoint }: KvEventsConfig,
): Promise<ZmqEventPublisher> {
  return createKvEventPublisher({
    endpoint: rankEndpoint(endpoint, rank),
    topic,
    encoding: version === '0.10.0' ? 'array-v0.10' : 'map',
    rank,
    wildcard: host.includes(':') ? `[${host}]` : host,
    ...(replayEndpoint !== undefined && { replayEndpoint: rankEndpoint(replayEndpoint, rank) }),
  })
}
