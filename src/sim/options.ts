import { isIP, isIPv6 } from 'node:net'
import { SchedulerError } from '../framework/errors.ts'
import type { EngineHashAlgorithm } from '../framework/services.ts'

/** Releases of vLLM whose answers, events and hashes the simulated engine can give. */
export type EngineVersion = '0.10.0' | '0.32.0'

/** A LoRA adapter that the engine serves under its own name. */
export interface LoraModule {
  readonly name: string
  readonly path: string
}

/** Where KV events go (vLLM's `--kv-events-config`). */
export interface KvEventsConfig {
  /** `tcp://host:port`; with `*` the engine binds, else it connects. */
  readonly endpoint: string
  readonly replayEndpoint: string | undefined
  readonly topic: string
}

/** Everything that makes up one simulated engine. */
export interface SimEngineOptions {
  /** A loopback address. */
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly servedModelName: string
  /** Tokens per KV block. */
  readonly blockTokens: number
  /** KV blocks of each rank, one of which is vLLM's null block and holds nothing. */
  readonly kvBlocks: number
  /** Ranks behind the port, each with blocks, cache and events of its own. */
  readonly dataParallelSize: number
  /** Requests that run at once on each rank. */
  readonly maxRunning: number
  /** Tokens of a prompt and its answer together. */
  readonly maxModelTokens: number
  readonly hashAlgorithm: EngineHashAlgorithm
  /** Text that the first block's parent is the hash of. */
  readonly hashSeed: string
  /** Undefined when the engine publishes no events. */
  readonly kvEvents: KvEventsConfig | undefined
  readonly loraModules: readonly LoraModule[]
  readonly tokenizersDir: string | undefined
  readonly version: EngineVersion
  readonly prefillTokensPerSecond: number
  /** Time of a step that decodes, before what its requests add, in milliseconds. */
  readonly decodeMs: number
}

/** One flag of `epp sim-engine`. */
export interface SimEngineFlag {
  /** As commander reads it, such as `--block-size <tokens>`. */
  readonly flag: string
  readonly description: string
}

/** The flags, those of `vllm serve` under their names. */
export const SIM_ENGINE_FLAGS: readonly SimEngineFlag[] = [
  { flag: '--host <address>', description: 'loopback address to bind (127.0.0.1)' },
  { flag: '--port <port>', description: 'port to bind, 0 for any (8000)' },
  { flag: '--served-model-name <name>', description: 'model to serve (Qwen3-32B)' },
  { flag: '--block-size <tokens>', description: 'tokens per KV block (16)' },
  { flag: '--num-gpu-blocks <count>', description: 'KV blocks (as many as hold 307,328 tokens)' },
  { flag: '--data-parallel-size <count>', description: 'ranks behind the port (1)' },
  { flag: '--max-num-seqs <count>', description: 'requests that run at once (256)' },
  {
    flag: '--max-model-len <tokens>',
    description: 'tokens of prompt and answer (40960 or the cache)',
  },
  {
    flag: '--prefix-caching-hash-algo <name>',
    description: 'sha256, sha256_cbor or sha256_cbor_64bit',
  },
  {
    flag: '--kv-events-config <json>',
    description: "vLLM's JSON: endpoint, topic, replay_endpoint ...",
  },
  {
    flag: '--resolve <host=address...>',
    description: 'stands in for DNS in --kv-events-config',
  },
  { flag: '--lora-modules <name=path...>', description: 'adapters to serve' },
  { flag: '--tokenizers-dir <folder>', description: 'tokenizers, one folder per model' },
  { flag: '--seed <text>', description: 'seed of block hashes and answers (PYTHONHASHSEED)' },
  {
    flag: '--engine-version <version>',
    description: 'vLLM to behave like: 0.10.0 or 0.32.0 (the newest that knows the hash algorithm)',
  },
  { flag: '--prefill-tokens-per-second <rate>', description: 'speed of prefill (15928)' },
  { flag: '--decode-ms <ms>', description: 'time of a decode step (13)' },
]

/**
 * The hash algorithm that a version uses when told none. 0.10.0's own default, Python's hash(), has no fixed values.
 */
const DEFAULT_ALGORITHM: Readonly<Record<EngineVersion, EngineHashAlgorithm>> = {
  '0.10.0': 'sha256_cbor_64bit',
  '0.32.0': 'sha256',
}
const VERSIONS: readonly EngineVersion[] = ['0.10.0', '0.32.0']
const ALGORITHMS: readonly EngineHashAlgorithm[] = ['sha256', 'sha256_cbor', 'sha256_cbor_64bit']

/** KV capacity of Qwen3-32B on two H100, in tokens. */
const DEFAULT_KV_TOKENS = 307_328

/** What vLLM hashes as seed when PYTHONHASHSEED is not set (0.30 and later). */
const UNSET_SEED = 'vllm-none-hash'

/**
 * Reads the flags of `epp sim-engine`.
 *
 * @param flags by camel-case name (`blockSize`), as commander gives them; a list for `loraModules`
 * @param environment for `PYTHONHASHSEED`
 * @throws {SchedulerError} CONFIG_INVALID, naming every wrong flag
 */
export function simEngineOptions(
  flags: Readonly<Record<string, string | readonly string[] | undefined>>,
  environment: Readonly<Record<string, string | undefined>> = {},
): SimEngineOptions {
  const reader = new FlagReader(flags)
  // Releases after 0.10.1 do not know this algorithm.
  const old = reader.optional('prefixCachingHashAlgo') === 'sha256_cbor_64bit'
  const version = reader.choice('engineVersion', VERSIONS, old ? '0.10.0' : '0.32.0')
  const blockTokens = reader.whole('blockSize', 16, 1, 65_536)
  const kvBlocks = reader.whole(
    'numGpuBlocks',
    Math.ceil(DEFAULT_KV_TOKENS / blockTokens),
    2,
    10_000_000,
  )
  const capacity = (kvBlocks - 1) * blockTokens
  const maxModelTokens = reader.whole('maxModelLen', Math.min(40_960, capacity), 1, 100_000_000)
  if (maxModelTokens > capacity) {
    reader.problem(
      `--max-model-len ${maxModelTokens} needs more KV cache than the ${capacity} tokens of --num-gpu-blocks ${kvBlocks}; lower it or raise the blocks`,
    )
  }
  const options: SimEngineOptions = {
    host: reader.loopback('host', '127.0.0.1'),
    port: reader.whole('port', 8000, 0, 65_535),
    servedModelName: reader.text('servedModelName', 'Qwen3-32B'),
    blockTokens,
    kvBlocks,
    dataParallelSize: reader.whole('dataParallelSize', 1, 1, 64),
    maxRunning: reader.whole('maxNumSeqs', 256, 1, 100_000),
    maxModelTokens,
    hashAlgorithm: reader.choice('prefixCachingHashAlgo', ALGORITHMS, DEFAULT_ALGORITHM[version]),
    hashSeed: reader.text('seed', environment.PYTHONHASHSEED ?? UNSET_SEED),
    kvEvents: reader.kvEvents('kvEventsConfig', version),
    loraModules: reader.loraModules('loraModules'),
    tokenizersDir: reader.optional('tokenizersDir'),
    version,
    prefillTokensPerSecond: reader.positive('prefillTokensPerSecond', 15_928),
    decodeMs: reader.positive('decodeMs', 13),
  }
  reader.finish()
  return options
}

class FlagReader {
  readonly #flags: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly #problems: string[] = []

  constructor(flags: Readonly<Record<string, string | readonly string[] | undefined>>) {
    this.#flags = flags
  }

  problem(text: string): void {
    this.#problems.push(text)
  }

  finish(): void {
    if (this.#problems.length > 0) {
      throw new SchedulerError('CONFIG_INVALID', this.#problems.join('\n'))
    }
  }

  optional(name: string): string | undefined {
    const value = this.#flags[name]
    return typeof value === 'string' ? value : value?.join(' ')
  }

  text(name: string, fallback: string): string {
    return this.optional(name) ?? fallback
  }

  whole(name: string, fallback: number, min: number, max: number): number {
    const value = this.optional(name)
    if (value === undefined) return fallback
    const number = Number(value)
    if (/^\d+$/.test(value) && number >= min && number <= max) return number
    this.problem(`${flagOf(name)} must be a whole number from ${min} to ${max}, got "${value}"`)
    return fallback
  }

  positive(name: string, fallback: number): number {
    const value = this.optional(name)
    if (value === undefined) return fallback
    const number = Number(value)
    if (value.trim() !== '' && Number.isFinite(number) && number > 0) return number
    this.problem(`${flagOf(name)} must be a number above 0, got "${value}"`)
    return fallback
  }

  choice<T extends string>(name: string, choices: readonly T[], fallback: T): T {
    const value = this.optional(name)
    if (value === undefined) return fallback
    const found = choices.find((choice) => choice === value)
    if (found !== undefined) return found
    this.problem(`${flagOf(name)} must be one of ${choices.join(', ')}, got "${value}"`)
    return fallback
  }

  loopback(name: string, fallback: string): string {
    const value = this.text(name, fallback)
    if (isLoopback(value)) return value
    this.problem(`${flagOf(name)} must be a loopback address such as 127.0.0.2, got "${value}"`)
    return fallback
  }

  /** Addresses by host names. */
  resolve(name: string): ReadonlyMap<string, string> {
    const addresses = new Map<string, string>()
    for (const entry of this.optional(name)?.split(' ') ?? []) {
      const [, host, address] = /^([^=]+)=([^=]+)$/.exec(entry) ?? []
      if (host !== undefined && address !== undefined && isIP(address) !== 0) {
        addresses.set(host, address)
      } else this.problem(`${flagOf(name)} must be HOST=ADDRESS, got "${entry}"`)
    }
    return addresses
  }

  loraModules(name: string): readonly LoraModule[] {
    const modules: LoraModule[] = []
    for (const entry of (this.optional(name) ?? '').split(/[\s,]+/)) {
      if (entry === '') continue
      const at = entry.indexOf('=')
      if (at > 0 && at < entry.length - 1) {
        modules.push({ name: entry.slice(0, at), path: entry.slice(at + 1) })
      } else this.problem(`${flagOf(name)} must be name=path, got "${entry}"`)
    }
    return modules
  }

  kvEvents(name: string, version: EngineVersion): KvEventsConfig | undefined {
    const value = this.optional(name)
    if (value === undefined) return undefined
    let config: unknown
    try {
      config = JSON.parse(value)
    } catch (error) {
      this.problem(`${flagOf(name)} must be JSON: ${(error as Error).message}`)
      return undefined
    }
    if (typeof config !== 'object' || config === null || Array.isArray(config)) {
      this.problem(`${flagOf(name)} must be a JSON object, got ${value}`)
      return undefined
    }
    const {
      enable_kv_cache_events: enabled = false,
      // Newer versions take zmq as soon as events are enabled; 0.10.0 must be told.
      publisher = version === '0.10.0' ? 'null' : 'zmq',
      endpoint = 'tcp://*:5557',
      replay_endpoint: replayEndpoint = null,
      topic = '',
    } = config as Record<string, unknown>
    if (publisher !== 'zmq' && publisher !== 'null') {
      this.problem(
        `${flagOf(name)}: publisher must be "zmq" or "null", got ${JSON.stringify(publisher)}`,
      )
    }
    if (typeof endpoint !== 'string' || typeof topic !== 'string') {
      this.problem(`${flagOf(name)}: endpoint and topic must be strings`)
      return undefined
    }
    if (replayEndpoint !== null && typeof replayEndpoint !== 'string') {
      this.problem(`${flagOf(name)}: replay_endpoint must be a string`)
      return undefined
    }
    if (enabled !== true || publisher !== 'zmq') return undefined
    const addresses = this.resolve('resolve')
    return {
      endpoint: resolved(endpoint, addresses),
      replayEndpoint: replayEndpoint === null ? undefined : resolved(replayEndpoint, addresses),
      topic,
    }
  }
}

/** True for an address of this machine alone. */
export function isLoopback(address: string): boolean {
  return (
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(address) || address === '::1' || address === 'localhost'
  )
}

/** `tcp://HOST:PORT` with the host's address in its place. */
function resolved(endpoint: string, addresses: ReadonlyMap<string, string>): string {
  return endpoint.replace(/^(tcp:\/\/)([^:/]+)(?=:\d+$)/, (whole, scheme: string, host: string) => {
    const address = addresses.get(host)
    return address === undefined ? whole : `${scheme}${isIPv6(address) ? `[${address}]` : address}`
  })
}

/** `blockSize` as `--block-size`. */
function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}
