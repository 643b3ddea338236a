import { Option } from 'commander'
import { DEFAULT_LIMITS, type Limits } from '../framework/limits.ts'
import { positive } from './flag-values.ts'

const KIBIBYTE = 1024
const MEBIBYTE = 1024 * KIBIBYTE
/** Values that a body may hold for each object or array: these take several times as much memory. */
const VALUES_PER_CONTAINER = 16

/** What commander puts for the flags of limits. */
export interface GivenLimits {
  readonly maxHeaderKib: number
  readonly maxRequests: number
  readonly maxConnections: number
  readonly maxJsonValues: number
  readonly maxJsonDepth: number
  readonly maxMessages: number
  readonly maxPromptChars: number
  readonly maxEventMib: number
  readonly maxEventsPerSecond: number
  readonly maxEndpoints: number
  readonly maxLabelValues: number
}

/** Flags of what the outside may take; the help shows the two that matter most, docs/security.md has all. */
export function limitFlags(): readonly Option[] {
  const limit = (flag: string, text: string, value: number) =>
    new Option(`${flag} <n>`, text).default(value).argParser(positive)
  const most = DEFAULT_LIMITS
  const others = [
    limit('--max-header-kib', 'larger request headers get 400', most.maxHeaderBytes / KIBIBYTE),
    limit('--max-requests', 'in progress at once; beyond it 503', most.maxRequests),
    limit('--max-connections', 'of each port; others are closed', most.maxConnections),
    limit('--max-json-values', 'in a body; beyond it 400', most.maxJsonValues),
    limit('--max-json-depth', 'of a body; deeper gets 400', most.maxJsonDepth),
    limit('--max-messages', 'of a chat; tokens of more are estimated', most.maxMessages),
    limit('--max-prompt-chars', 'tokens of longer text are estimated', most.maxPromptChars),
    limit('--max-event-mib', 'larger KV event messages are dropped', most.maxEventBytes / MEBIBYTE),
    limit('--max-events-per-second', 'KV event messages of one engine', most.maxEventsPerSecond),
    limit('--max-endpoints', 'of one pool; others are left out', most.maxEndpoints),
    limit('--max-label-values', 'of one label of a metric; then "other"', most.maxLabelValues),
  ]
  return [
    limit('--max-body-mib', 'larger request bodies get 413', 64),
    limit('--max-buffered-mib', 'all bodies held at once; beyond it 503', 1024),
    ...others.map((option) => option.hideHelp()),
  ]
}

/** The limits that flags give. */
export function limitsOf(given: GivenLimits): Limits {
  return {
    maxHeaderBytes: given.maxHeaderKib * KIBIBYTE,
    maxRequests: given.maxRequests,
    maxConnections: given.maxConnections,
    maxJsonContainers: Math.ceil(given.maxJsonValues / VALUES_PER_CONTAINER),
    maxJsonValues: given.maxJsonValues,
    maxJsonDepth: given.maxJsonDepth,
    maxMessages: given.maxMessages,
    maxPromptChars: given.maxPromptChars,
    maxEventBytes: given.maxEventMib * MEBIBYTE,
    maxEventsPerSecond: given.maxEventsPerSecond,
    maxEndpoints: given.maxEndpoints,
    maxLabelValues: given.maxLabelValues,
  }
}
