import { type KubeProblem, statusProblem } from './problem.ts'

/** One event of a watch. */
export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: unknown
  /** Where a watch goes on after this event. */
  readonly resourceVersion: string
}

const TYPES: readonly WatchEvent['type'][] = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']

/** Reads one line of a watch: an event, or the problem that the server reports or that the line is. */
export function readWatchEvent(line: string): WatchEvent | KubeProblem {
  let event: { readonly type?: unknown; readonly object?: unknown } | null
  try {
    event = JSON.parse(line) as typeof event
  } catch {
    return { reason: 'malformed', text: `an event of ${line.length} characters is no JSON` }
  }
  const object = event?.object as
    | { metadata?: { resourceVersion?: unknown }; code?: unknown; message?: unknown }
    | null
    | undefined
  if (event?.type === 'ERROR') {
    const { code, message } = object ?? {}
    return statusProblem(
      typeof code === 'number' ? code : 500,
      typeof message === 'string' ? message : undefined,
    )
  }
  const type = TYPES.find((each) => each === event?.type)
  if (type === undefined) return { reason: 'malformed', text: 'an event has no known type' }
  const resourceVersion = object?.metadata?.resourceVersion
  if (typeof resourceVersion !== 'string' || resourceVersion === '') {
    return { reason: 'malformed', text: 'the object of an event has no resourceVersion' }
  }
  return { type, object, resourceVersion }
}
