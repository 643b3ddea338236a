import { type ErrorCode, SchedulerError } from './errors.ts'
import type { Kind } from './plugin.ts'

/**
 * What a request becomes when a plugin throws or breaks its contract for it.
 *
 * `fail`: it fails. `skip`: it goes on as if the plugin were not in the profile. `neutral`: the plugin counts as one without
 * an opinion: a filter lets all pass, a scorer gives every endpoint `NEUTRAL_SCORE`.
 */
export type OnError = 'neutral' | 'skip' | 'fail'

/** Keeps the scale of the totals, which matters to pickers that draw by them; max-score-picker is not moved by it. */
export const NEUTRAL_SCORE = 0.5

/** What `onError` may say of each kind, the default first, and why no more. */
export const ON_ERROR: Readonly<
  Record<Kind, { readonly allowed: readonly [OnError, ...OnError[]]; readonly why: string }>
> = {
  filter: { allowed: ['fail', 'skip', 'neutral'], why: '' },
  scorer: { allowed: ['fail', 'skip', 'neutral'], why: '' },
  picker: { allowed: ['fail'], why: 'without a pick there is no answer' },
  handler: { allowed: ['fail'], why: 'without a handler no profile runs' },
  producer: { allowed: ['skip'], why: 'the request goes on without its data' },
  observer: { allowed: ['skip'], why: 'the request goes on without it' },
}

/** Why `onError` may not have this value for a plugin of this kind, and what to do; undefined when it may. */
export function onErrorProblem(kind: Kind, onError: OnError): string | undefined {
  const { allowed, why } = ON_ERROR[kind]
  if (allowed.includes(onError)) return undefined
  return `"onError" of ${kind === 'observer' ? 'an' : 'a'} ${kind} must be "${allowed[0]}": ${why}; got "${onError}"; remove it`
}

/** Codes by which a plugin says that a request cannot be served, rather than that the plugin is broken. */
const REFUSALS = [
  'BAD_REQUEST',
  'MODEL_MISSING',
  'MODEL_UNKNOWN',
  'BODY_TOO_LARGE',
  'NO_ENDPOINTS',
  'CANCELLED',
] as const satisfies readonly ErrorCode[]
type Refusal = (typeof REFUSALS)[number]

/** True for an error that refuses the request: no fault of the plugin that throws it, whatever its `onError`. */
export function isRefusal(error: unknown): error is SchedulerError & { readonly code: Refusal } {
  return error instanceof SchedulerError && (REFUSALS as readonly ErrorCode[]).includes(error.code)
}
