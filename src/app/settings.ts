import { type CheckedConfig, defaultParams } from '../config/parse.ts'
import type { Generation, PluginSpec } from '../framework/build.ts'
import { buildGeneration } from '../framework/build.ts'
import type { Container } from '../framework/container.ts'
import { durationMs } from '../framework/duration.ts'
import { DEFAULT_KV_EVENTS_PORT } from '../kvcache/events/zmq-intake.ts'
import { type TrackedParams, tokenProcessorOf } from '../plugins/data/tracked-params.ts'
import { builtinPlugins } from '../plugins/index.ts'
import type { TokenProducerParams } from '../plugins/producers/token-producer.ts'
import type { PromptTokenizer } from '../tokenize/prompt-tokenizer.ts'

/** Where KV events come in: an address that engines connect to, a port at which every endpoint is dialled, or neither. */
export interface EventPorts {
  readonly bind?: string | undefined
  readonly dialPort?: number | undefined
  /** Port at which engines are asked for missed events; undefined asks none. */
  readonly replayPort?: number | undefined
}

/** Plugins that describe the index of what engines hold, those first whose words count. */
const TRACKED: readonly string[] = ['precise-prefix-cache-producer', 'precise-prefix-cache-scorer']
const DEFAULT_BIND = `tcp://*:${DEFAULT_KV_EVENTS_PORT}`
const DEFAULT_BEAT_MS = 60_000
const MIN_BEAT_MS = 10
const DEFAULT_INDEX_MIB = 1024
const MEBIBYTE = 1024 * 1024

/** Builds a checked configuration with the plugins of this package at hand. @throws {SchedulerError} as `buildGeneration` */
export function generationOf(id: number, config: CheckedConfig, services: Container): Generation {
  return buildGeneration(id, config.spec, services, builtinPlugins, defaultParams)
}

/** The params of the first plugin of that type in the configuration. */
function paramsOf<T>(config: CheckedConfig, type: string): T | undefined {
  return config.spec.plugins.find(({ plugin }) => plugin.type === type)?.params as T | undefined
}

/** What the configuration says of the index of what engines hold; undefined when it says nothing. */
function trackedParams(config: CheckedConfig): TrackedParams | undefined {
  for (const type of TRACKED) {
    const params = paramsOf<TrackedParams>(config, type)
    if (params !== undefined) return params
  }
  return undefined
}

/** True for a plugin that wants to know what engines hold. */
function usesEvents({ plugin: { type }, params }: PluginSpec): boolean {
  if (type === 'prefix-cache-scorer') return (params as { source: string }).source === 'tracked'
  return TRACKED.includes(type) || type === 'cost-scorer'
}

/** The file from which the configuration takes its endpoints; undefined when it names none. */
export function endpointsFile(config: CheckedConfig): string | undefined {
  return paramsOf<{ path: string }>(config, 'file-discovery')?.path
}

export function configureTokenizer(tokenizer: PromptTokenizer, config: CheckedConfig): void {
  const precise = trackedParams(config)
  const producer = paramsOf<TokenProducerParams>(config, 'token-producer')
  tokenizer.configure({
    folders: config.tokenizers,
    fallbackModel: producer?.modelName ?? (precise && tokenProcessorOf(precise).model),
    engineUrl: producer?.vllm?.url,
    ...(producer && {
      source: producer.source,
      maxMismatches: producer.maxMismatches,
      trustRequestChatTemplate: producer.trustRequestChatTemplate,
    }),
  })
}

/** How many ranks every engine has behind its port; 1 where the configuration does not tell them apart. */
export function ranksPerPort({ spec }: CheckedConfig): number {
  const { dataParallel, dataParallelSize = 1 } = spec.requests ?? {}
  return dataParallel === 'header' ? dataParallelSize : 1
}

/** Bytes that the index of tracked blocks may take. */
export function indexBytes(config: CheckedConfig): number {
  const precise = trackedParams(config)
  return (precise?.indexerConfig?.kvBlockIndexConfig?.maxMemoryMiB ?? DEFAULT_INDEX_MIB) * MEBIBYTE
}

/** True when a plugin uses KV events. */
export function asksForEvents({ spec }: CheckedConfig): boolean {
  return spec.plugins.some(usesEvents)
}

/** Flags first, then what the params say; with a plugin that uses events and nothing said, the default port is bound. */
export function eventPorts(flags: EventPorts, config: CheckedConfig): EventPorts {
  const precise = trackedParams(config)
  const events = precise?.kvEventsConfig
  const discovery = events?.podDiscoveryConfig
  const replayPort = flags.replayPort ?? (discovery?.replaySocketPort || undefined)
  if (flags.bind !== undefined || flags.dialPort !== undefined) return { ...flags, replayPort }
  if (!asksForEvents(config)) return {}
  const dial = events?.discoverPods === true
  return {
    bind: events?.zmqEndpoint || (dial ? undefined : DEFAULT_BIND),
    dialPort: dial ? (discovery?.socketPort ?? DEFAULT_KV_EVENTS_PORT) : undefined,
    replayPort,
  }
}

/** Time between two `metrics beat` lines; undefined where nothing uses an index of events, or what describes it turns them off. */
export function beatMs(config: CheckedConfig): number | undefined {
  const index = trackedParams(config)?.indexerConfig?.kvBlockIndexConfig
  if (!asksForEvents(config) || index?.enableMetrics === false) return undefined
  const interval = index?.metricsLoggingInterval
  return Math.max(MIN_BEAT_MS, interval === undefined ? DEFAULT_BEAT_MS : durationMs(interval))
}
