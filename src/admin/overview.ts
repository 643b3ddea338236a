import { type DecisionSummary, decisionSummary } from './decision-summary.ts'
import type {
  AdminSources,
  ConfigPage,
  EndpointPage,
  Notice,
  ReadyCheck,
  RoutingSecond,
  RoutingSums,
} from './sources.ts'

/** Everything that the dashboard shows at once; it asks for it each second. */
export interface Overview {
  readonly version: string
  /** Epoch milliseconds of the picker's clock. */
  readonly nowMs: number
  readonly checks: readonly ReadyCheck[]
  readonly notices: readonly Notice[]
  readonly endpoints: readonly OverviewEndpoint[]
  readonly configurations: readonly OverviewConfig[]
  /** The newest first. */
  readonly decisions: readonly DecisionSummary[]
  readonly total: RoutingSums
  readonly keptSeconds: number
  readonly seconds: readonly RoutingSecond[]
}

/** Without what only one that looks closer wants. */
export type OverviewEndpoint = Omit<EndpointPage, 'labels' | 'publishers'>

/** What tells that `/config` has changed. */
export interface OverviewConfig
  extends Pick<ConfigPage, 'pool' | 'generation' | 'source' | 'lastReload' | 'needsRestart'> {
  readonly warnings: number
}

const DECISIONS = 40

/** @param afterSecond the last second that the asker has seen */
export function overview(sources: AdminSources, afterSecond: number): Overview {
  const { history, decisions } = sources
  return {
    version: sources.version,
    nowMs: sources.epochMs(),
    checks: sources.ready(),
    notices: sources.notices(),
    endpoints: sources.endpoints().map(({ labels: _, publishers: __, ...endpoint }) => endpoint),
    configurations: sources.configurations().map((page) => ({
      pool: page.pool,
      generation: page.generation,
      source: page.source,
      lastReload: page.lastReload,
      needsRestart: page.needsRestart,
      warnings: page.warnings.length,
    })),
    decisions: decisions.list(DECISIONS).map(decisionSummary),
    total: history.total,
    keptSeconds: history.keptSeconds,
    seconds: history.since(afterSecond),
  }
}
