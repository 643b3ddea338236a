import type { CheckedConfig } from '../config/parse.ts'
import type { Generation } from '../framework/build.ts'
import { Container } from '../framework/container.ts'
import { PluginProbe } from '../framework/instrument.ts'
import type { Limits } from '../framework/limits.ts'
import { METRICS_SCRAPING, type MetricsScraping } from '../framework/metrics-scraping.ts'
import type { Observer } from '../framework/plugin.ts'
import type { PickRandom } from '../framework/random.ts'
import { InFlightLedger } from '../framework/routing/in-flight.ts'
import type { Configured } from '../framework/routing/profile.ts'
import {
  CLOCK,
  type Clock,
  ENDPOINTS,
  type Endpoints,
  GHOST_INDEX,
  IN_FLIGHT,
  LOGGER,
  type Logger,
  METRICS,
  type Metrics,
  MODELS,
  type Models,
  NOTICES,
  type Notices,
  PREFIX_INDEX,
  PREFIX_MATCHER,
  RANDOM,
  ROUTED_PREFIX_INDEX,
  TOKENIZER,
  type Tokenizer,
} from '../framework/services.ts'
import { KvCache } from '../kvcache/kv-cache.ts'
import { DEFAULT_MATCHER_OPTIONS, KvPrefixMatcher } from '../kvcache/prefix-matcher.ts'
import { KvRoutedPrefixIndex } from '../kvcache/routed-prefix-index.ts'
import { TruthLoop } from '../kvcache/truth/truth-loop.ts'
import { asksForEvents, generationOf, indexBytes } from './settings.ts'

/** Bytes of the index that learns from picks. */
const ROUTED_INDEX_BYTES = 512 * 1024 * 1024

/** What a pool's state is made of: of real engines, or of simulated ones. */
export interface PoolParts {
  readonly clock: Clock
  readonly random: PickRandom
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  readonly endpoints: Endpoints
  readonly models: Models
  readonly tokenizer: Tokenizer
  readonly scraping: MetricsScraping
  readonly limits?: Limits
  /** Of 8 bytes, for the keys of past picks; a secret one when absent. */
  readonly keySeed?: Buffer
}

/** What a pool knows of its endpoints, and the services that its plugins get. */
export class PoolState {
  readonly inFlight = new InFlightLedger()
  readonly cache: KvCache
  readonly routed: KvRoutedPrefixIndex
  readonly truth: TruthLoop
  readonly matcher: KvPrefixMatcher
  readonly #parts: PoolParts
  readonly #container: Container

  constructor(parts: PoolParts, config: CheckedConfig) {
    this.#parts = parts
    const { endpoints } = parts
    this.cache = new KvCache({ ...parts, maxMemoryBytes: indexBytes(config) })
    this.cache.expectEvents(asksForEvents(config))
    this.routed = new KvRoutedPrefixIndex({
      ...{ endpoints, keys: this.cache.keys, maxMemoryBytes: ROUTED_INDEX_BYTES },
    })
    this.truth = new TruthLoop({ ...parts, witness: this.cache.witness })
    this.matcher = new KvPrefixMatcher(this.cache.index, this.routed, this.truth)
    this.forgetWishes()
    this.#container = new Container()
      .provide(CLOCK, {}, () => parts.clock)
      .provide(RANDOM, {}, () => parts.random)
      .provide(LOGGER, {}, () => parts.logger)
      .provide(METRICS, {}, () => parts.metrics)
      .provide(NOTICES, {}, () => parts.notices)
      .provide(ENDPOINTS, {}, () => endpoints)
      .provide(MODELS, {}, () => parts.models)
      .provide(IN_FLIGHT, {}, () => this.inFlight)
      .provide(TOKENIZER, {}, () => parts.tokenizer)
      .provide(PREFIX_INDEX, {}, () => this.cache.index)
      .provide(ROUTED_PREFIX_INDEX, {}, () => this.routed)
      .provide(GHOST_INDEX, {}, () => this.routed.ghost)
      .provide(PREFIX_MATCHER, {}, () => this.matcher)
      .provide(METRICS_SCRAPING, {}, () => parts.scraping)
  }

  /** The configuration's plugins. @throws {SchedulerError} when one cannot be built */
  generation(id: number, config: CheckedConfig): Generation {
    return generationOf(id, config, this.#container)
  }

  /** An observer that every configuration has. */
  observer(name: string, plugin: Observer): Configured<Observer> {
    const probe = new PluginProbe({ kind: 'observer', type: name, name }, this.#parts)
    return { name, plugin, probe }
  }

  /** What the next configuration's plugins do not ask for is as if no plugin ever had. */
  forgetWishes(): void {
    this.matcher.configure(DEFAULT_MATCHER_OPTIONS)
  }

  /** Takes over what the configuration says of the index of what engines hold. */
  follow(config: CheckedConfig): void {
    this.cache.limitMemory(indexBytes(config))
    this.cache.expectEvents(asksForEvents(config))
  }

  close(): void {
    this.truth.close()
    this.routed.close()
    this.cache.close()
  }
}
