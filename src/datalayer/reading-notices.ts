import type { Endpoint } from '../framework/endpoint.ts'
import type { Logger, Metrics, Notices } from '../framework/services.ts'
import { listText } from './endpoint-store.ts'
import type { EngineChoice } from './engine-tables.ts'

const UNTOLD = 'metrics-untold'
const UNKNOWN_ENGINE = 'engine-type-unknown'

interface Reading {
  readonly hostPort: string
  readonly engine: string
  readonly unknownEngine: string | undefined
  readonly untold: readonly string[]
}

/** Says what the pages of endpoints that answer do not tell, and which labels of engines are not understood. */
export class ReadingNotices {
  readonly #notices: Notices
  readonly #logger: Logger
  /** By endpoint id; only those of which there is something to say. */
  readonly #readings = new Map<string, Reading>()

  constructor(services: {
    readonly notices: Notices
    readonly logger: Logger
    readonly metrics: Metrics
  }) {
    this.#notices = services.notices
    this.#logger = services.logger
    services.metrics.observed(
      'epp_endpoints_partly_told',
      'Endpoints whose metrics page lacks something that is asked for, or whose engine no table has.',
      () => {
        const readings = [...this.#readings.values()]
        return [
          {
            labels: { reason: 'metric' },
            value: readings.filter(({ untold }) => untold.length > 0).length,
          },
          {
            labels: { reason: 'engine' },
            value: readings.filter(({ unknownEngine }) => unknownEngine !== undefined).length,
          },
        ]
      },
    )
  }

  /** What a page was read as. Costs nothing while it says all and nothing changes. */
  set({ id, hostPort }: Endpoint, choice: EngineChoice, untold: readonly string[]): void {
    const { unknownEngine } = choice
    const { engine } = choice.reader
    const before = this.#readings.get(id)
    if (untold.length === 0 && unknownEngine === undefined) {
      if (this.#readings.delete(id)) this.#say()
      return
    }
    if (
      before?.engine === engine &&
      before.unknownEngine === unknownEngine &&
      before.untold.length === untold.length &&
      before.untold.every((what, i) => what === untold[i])
    ) {
      return
    }
    this.#readings.set(id, { hostPort, engine, unknownEngine, untold })
    if (untold.length > 0) {
      this.#logger.warnOnce(
        `${UNTOLD} ${engine} ${untold.join()}`,
        'an endpoint does not tell all metrics that are asked for',
        { endpoint: hostPort, engine, untold },
      )
    }
    if (unknownEngine !== undefined) {
      this.#logger.warnOnce(
        `${UNKNOWN_ENGINE} ${unknownEngine}`,
        'an endpoint is of an engine whose metrics are not known: it is read as the default one',
        { endpoint: hostPort, engine: unknownEngine, readAs: engine },
      )
    }
    this.#say()
  }

  forget({ id }: Endpoint): void {
    if (this.#readings.delete(id)) this.#say()
  }

  #say(): void {
    const readings = [...this.#readings.values()]
    const untold = readings
      .filter((reading) => reading.untold.length > 0)
      .map((reading) => `${reading.hostPort} (${reading.engine}: ${listText(reading.untold)})`)
    this.#notices.set(
      UNTOLD,
      untold.length === 0
        ? undefined
        : `${untold.length} endpoints do not tell all that is asked for: ${listText(untold)}`,
    )
    const unknown = readings
      .filter(({ unknownEngine }) => unknownEngine !== undefined)
      .map(
        ({ hostPort, engine, unknownEngine }) =>
          `${hostPort} says "${unknownEngine}", read as ${engine}`,
      )
    this.#notices.set(
      UNKNOWN_ENGINE,
      unknown.length === 0
        ? undefined
        : `engines that no table has, name them in the engineConfigs of core-metrics-extractor: ${listText(unknown)}`,
    )
  }
}
