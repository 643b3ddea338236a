import type { Generation } from '../build.ts'
import type { Endpoint } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import type { InferenceRequest } from '../request.ts'
import type { ProfileTrace } from './decision.ts'
import type { ProfileRun, ProfileTrial } from './profile.ts'

/** All runs of one request, and the one that counts. */
export interface ProfileRuns {
  readonly primary: ProfileRun
  readonly traces: readonly ProfileTrace[]
}

/** What trials of the profiles that ran keep, by name. */
export type Trials = Map<string, ProfileTrial>

/**
 * Runs the profiles that the handler asks for until it names the primary result. Synchronous.
 *
 * @param trials given where nothing is to follow from the run; filled with the profiles that ran
 * @throws {SchedulerError} what the primary profile failed with, or PLUGIN_CONTRACT when the handler names none
 */
export function runProfiles(
  generation: Generation,
  request: InferenceRequest,
  candidates: readonly Endpoint[],
  nowMs: number,
  trials?: Trials,
): ProfileRuns {
  const { handler, profiles, profileNames } = generation
  const runs = new Map<string, ProfileRun>()
  const results = new Map<string, readonly Endpoint[] | undefined>()
  const failures = new Map<string, unknown>()
  for (;;) {
    const step = handler.probe.call(() => handler.plugin.next(request, profileNames, results))
    if ('primary' in step) {
      const primary = runs.get(step.primary)
      if (primary) return { primary, traces: [...runs.values()].map(({ trace }) => trace) }
      throw (
        failures.get(step.primary) ??
        new SchedulerError(
          'PLUGIN_CONTRACT',
          `handler "${handler.name}" took profile "${step.primary}", which did not run; profiles: ${profileNames.join(', ')}`,
        )
      )
    }
    const fresh = step.run.filter((name) => profiles.has(name) && !results.has(name))
    if (fresh.length === 0) {
      throw new SchedulerError(
        'PLUGIN_CONTRACT',
        `handler "${handler.name}" asked for no profile that could still run: ${step.run.join(', ') || 'none'}`,
      )
    }
    for (const name of fresh) {
      const trial = trials && { filters: [] }
      if (trial) trials.set(name, trial)
      try {
        const run = profiles.get(name)!.run(request, candidates, nowMs, trial)
        runs.set(name, run)
        results.set(name, run.picked)
      } catch (error) {
        failures.set(name, error)
        results.set(name, undefined)
      }
    }
  }
}
