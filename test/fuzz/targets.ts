import { bodies } from './bodies.ts'
import { configurations } from './configurations.ts'
import { events } from './events.ts'
import { exchanges } from './exchanges.ts'
import { metricsPages } from './metrics-pages.ts'
import type { FuzzTarget } from './target.ts'

export const targets: readonly FuzzTarget[] = [
  bodies,
  events,
  metricsPages,
  configurations,
  exchanges,
]
