import type { CheckedConfig } from '../config/parse.ts'
import { writeConfig } from '../config/write-config.ts'
import type {
  PoolHost,
  PoolRef,
  PoolSink,
  TrafficPolicy,
} from '../discovery/kubernetes/pool-host.ts'
import type { RoutedPool } from '../framework/routing/pool-router.ts'
import type { Logger } from '../framework/services.ts'
import type { MetricsScope, PrometheusMetrics } from '../telemetry/metrics.ts'
import { noticesOf } from '../telemetry/notices.ts'
import { AllEndpoints } from './all-endpoints.ts'
import { type ConfigText, messageOf, Pool, type PoolOptions, type PoolServices } from './pool.ts'

/** What all pools share; each gets metrics and notices of its own from it. */
export interface PoolsServices extends Omit<PoolServices, 'metrics'> {
  readonly metrics: PrometheusMetrics
  /** Checks the text of a configuration. @throws {SchedulerError} CONFIG_INVALID */
  readonly load: (text: string, source: string) => Promise<CheckedConfig>
}

/** The configuration of pools that no policy speaks of. */
export interface BaseConfig {
  readonly config: CheckedConfig
  readonly text: ConfigText
  /** True when the operator gave it, so that it comes before any policy. */
  readonly isGiven: boolean
}

interface Served {
  readonly pool: Pool
  readonly metrics: MetricsScope
  readonly configuring: PolicyConfiguration
}

/** The pools that this process serves. */
export class Pools implements PoolHost {
  readonly #services: PoolsServices
  readonly #options: Omit<PoolOptions, 'name'>
  readonly #logger: Logger
  /** By `namespace/name`, or the empty string. */
  readonly #served = new Map<string, Served>()
  readonly #closing = new Set<Promise<void>>()
  /** Of all pools. */
  readonly endpoints = new AllEndpoints()
  #base: BaseConfig

  constructor(services: PoolsServices, options: Omit<PoolOptions, 'name'>, base: BaseConfig) {
    this.#services = services
    this.#options = options
    this.#base = base
    this.#logger = services.logger.named('pools')
  }

  list(): readonly Pool[] {
    return Array.from(this.#served.values(), ({ pool }) => pool)
  }

  /** For the router that tells them apart. */
  routed(): readonly RoutedPool[] {
    return this.list().map(({ name = '', pickerService, director }) => ({
      name,
      pickerService,
      router: director,
    }))
  }

  /**
   * Makes a pool whose sockets are not open yet.
   *
   * @param name `namespace/name`; undefined for the one whose endpoints come from flags or a file
   * @throws {SchedulerError} when a plugin of the configuration cannot be built
   */
  add(name: string | undefined): Pool {
    const { metrics: all, notices, load, ...services } = this.#services
    const metrics = all.scope(name === undefined ? {} : { pool: name })
    const own = {
      ...services,
      metrics,
      notices: name === undefined ? notices : noticesOf(name, notices),
    }
    const pool = new Pool(own, { ...this.#options, name }, this.#base.config, this.#base.text)
    const configuring = new PolicyConfiguration(pool, () => this.#base, {
      load,
      logger: this.#logger,
      notices: own.notices,
    })
    this.#served.set(name ?? '', { pool, metrics, configuring })
    this.endpoints.add(pool.endpoints)
    return pool
  }

  open(ref: PoolRef): PoolSink {
    const name = nameOf(ref)
    let pool: Pool
    try {
      pool = this.add(name)
    } catch (error) {
      this.#logger.error('A pool cannot be served', { pool: name, problem: messageOf(error) })
      this.#services.notices.set(`${name}:configuration`, messageOf(error))
      return { endpoints() {}, rules() {}, policy() {}, pickerService() {} }
    }
    this.#logger.info('Serving a pool', { pool: name })
    pool.prepare().catch((error: unknown) => {
      this.#logger.error('A pool is not whole', { pool: name, problem: messageOf(error) })
      this.#services.notices.set(`${name}:kv-events-socket`, messageOf(error))
    })
    const { configuring } = this.#served.get(name)!
    return {
      endpoints: (specs) => pool.endpoints.replace('kubernetes', specs),
      rules: (rules) => pool.director.setRules(rules),
      policy: (policy) => configuring.use(policy),
      pickerService: (service) => {
        pool.pickerService = service
      },
    }
  }

  close(ref: PoolRef): void {
    const name = nameOf(ref)
    if (!this.#served.has(name)) return
    this.#logger.info('A pool is not served any more', { pool: name })
    const closing = this.#remove(name)
      .catch((error: unknown) =>
        this.#logger.error('A pool failed to close', { pool: name, problem: messageOf(error) }),
      )
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  /** Puts another configuration to work in every pool that no policy configures. */
  takeBase(config: CheckedConfig, text: ConfigText): void {
    this.#base = { ...this.#base, config, text }
    for (const { pool } of this.#served.values()) pool.take(config, text)
  }

  refuseBase(error: unknown): void {
    for (const { pool } of this.#served.values()) pool.refuse(this.#base.text.source, error)
  }

  async closeAll(): Promise<void> {
    for (const name of [...this.#served.keys()]) await this.#remove(name)
    await Promise.all(this.#closing)
  }

  async #remove(name: string): Promise<void> {
    const { pool, metrics, configuring } = this.#served.get(name)!
    this.#served.delete(name)
    configuring.stop()
    // Requests under way end as those of endpoints that are gone.
    pool.endpoints.replace('kubernetes', [])
    this.endpoints.remove(pool.endpoints)
    await pool.close()
    metrics[Symbol.dispose]()
    for (const { key } of this.#services.notices.list()) {
      if (name !== '' && key.startsWith(`${name}:`)) this.#services.notices.set(key, undefined)
    }
  }
}

/** Follows the policy of one pool, one change after the other; the operator's own configuration comes first. */
class PolicyConfiguration {
  readonly #pool: Pool
  readonly #base: () => BaseConfig
  readonly #services: Pick<PoolsServices, 'load' | 'logger' | 'notices'>
  #wanted: TrafficPolicy | undefined
  /** Text in force. */
  #text: string | undefined
  #catchingUp = false
  #stopped = false

  constructor(
    pool: Pool,
    base: () => BaseConfig,
    services: Pick<PoolsServices, 'load' | 'logger' | 'notices'>,
  ) {
    this.#pool = pool
    this.#base = base
    this.#services = services
  }

  use(policy: TrafficPolicy | undefined): void {
    if (this.#base().isGiven) {
      this.#services.notices.set(
        'policy',
        policy &&
          `${policy.source} is not in force: the configuration of ${this.#base().text.source} comes first`,
      )
      return
    }
    this.#wanted = policy
    this.#services.notices.set(
      'policy',
      policy && policy.warnings.length > 0
        ? `${policy.source}: ${policy.warnings.join('; ')}`
        : undefined,
    )
    for (const warning of policy?.warnings ?? []) {
      const key = `${policy!.source} ${warning}`
      this.#services.logger.warnOnce(key, `${policy!.source}: ${warning}`)
    }
    if (!this.#catchingUp) void this.#catchUp()
  }

  stop(): void {
    this.#stopped = true
  }

  /** Until what is in force is what is wanted. */
  async #catchUp(): Promise<void> {
    this.#catchingUp = true
    let policy: TrafficPolicy | undefined
    do {
      policy = this.#wanted
      const text = policy && writeConfig(policy.config)
      if (text === this.#text) continue
      this.#text = text
      const base = this.#base()
      try {
        if (policy === undefined || text === undefined) this.#pool.take(base.config, base.text)
        else {
          const { source } = policy
          const config = await this.#services.load(text, source)
          if (this.#stopped) return
          this.#pool.take(config, { source, text })
          this.#services.logger.info('Configuration from a policy', {
            pool: this.#pool.name,
            source,
            configuration: text,
          })
        }
      } catch (error) {
        this.#pool.refuse(policy?.source ?? base.text.source, error)
      }
    } while (policy !== this.#wanted)
    this.#catchingUp = false
  }
}

function nameOf({ namespace, name }: PoolRef): string {
  return `${namespace}/${name}`
}
