import type { Logger, Metrics, Notices } from '../framework/services.ts'
import { listText } from './endpoint-store.ts'
import type { EngineChoice } from './engine-tables.ts'

const UNTOLD = 'metrics-untold'
const UNKNOWN_ENGINE = 'engine-type-unknown'
const WRONG_RANKS = 'data-parallel-size'

interface Reading {
  readonly hostPort: string
  readonly engine: string
  readonly unknownEngine: string | undefined
  readonly untold: readonly string[]
  /** The ranks that it tells of and how many are expected, in words; undefined where they are as they should. */
  readonly wrongRanks: string | undefined
}

/** What was read of one page. */
export interface PageRead {
  readonly choice: EngineChoice
  /** What was asked for and the page does not say, for people. */
  readonly untold: readonly string[]
  /** The ranks that it tells of where others are expected; undefined where it tells of those, or not of ranks. */
  readonly ranks: readonly string[] | undefined
  /** How many ranks are expected. */
  readonly expected: number
}

/** Says what the pages of endpoints that answer do not tell, and which labels of engines are not understood. */
export class ReadingNotices {
  readonly #notices: Notices
  readonly #logger: Logger
  /** By page; only those of which there is something to say. */
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
      'Servers whose metrics page lacks something that is asked for, whose engine no table has, or that have other ranks than are expected.',
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
          {
            labels: { reason: 'ranks' },
            value: readings.filter(({ wrongRanks }) => wrongRanks !== undefined).length,
          },
        ]
      },
    )
  }

  /** What a page was read as. Costs nothing while it says all and nothing changes. */
  set(page: string, hostPort: string, { choice, untold, ranks, expected }: PageRead): void {
    const { unknownEngine } = choice
    const { engine } = choice.reader
    const before = this.#readings.get(page)
    const wrongRanks = ranks && `has ${rankText(ranks)} and not ${expected} ranks`
    if (untold.length === 0 && unknownEngine === undefined && wrongRanks === undefined) {
      if (this.#readings.delete(page)) this.#say()
      return
    }
    if (
      before?.engine === engine &&
      before.unknownEngine === unknownEngine &&
      before.wrongRanks === wrongRanks &&
      before.untold.length === untold.length &&
      before.untold.every((what, i) => what === untold[i])
    ) {
      return
    }
    this.#readings.set(page, { hostPort, engine, unknownEngine, untold, wrongRanks })
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
    if (ranks !== undefined) {
      this.#logger.warnOnce(
        `${WRONG_RANKS} ${hostPort}`,
        'an endpoint has other data-parallel ranks than dataParallelSize says',
        { endpoint: hostPort, ranks: listText(ranks), dataParallelSize: expected },
      )
    }
    this.#say()
  }

  forget(page: string): void {
    if (this.#readings.delete(page)) this.#say()
  }

  #say(): void {
    const readings = [...this.#readings.values()].sort((a, b) => (a.hostPort < b.hostPort ? -1 : 1))
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
    const wrong = readings
      .filter(({ wrongRanks }) => wrongRanks !== undefined)
      .map(({ hostPort, wrongRanks }) => `${hostPort} ${wrongRanks}`)
    this.#notices.set(
      WRONG_RANKS,
      wrong.length === 0
        ? undefined
        : `dataParallelSize is not the engines' --data-parallel-size: ${listText(wrong)}`,
    )
  }
}

function rankText(ranks: readonly string[]): string {
  return `rank${ranks.length === 1 ? '' : 's'} ${listText(ranks)}`
}
