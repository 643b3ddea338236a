import { suggestion } from '../near.ts'
import type { ProblemList } from '../problem.ts'

/** Feature gates of the field, with why one that is on has no effect; undefined where what it opens is always open here. */
const GATES: ReadonlyMap<string, string | undefined> = new Map([
  ['flowControl', 'requests are not queued here'],
  ['haPopulateNonLeaderDatastore', undefined],
  ['dataLayer', undefined],
  ['prepareDataPlugins', undefined],
  ['experimentalDatalayer', undefined],
  ['enableLegacyMetrics', undefined],
])

/** Checks `featureGates`: names, values, and what has no effect. */
export function checkGates(gates: unknown, problems: ProblemList): void {
  if (!Array.isArray(gates)) return
  const names = [...GATES.keys()]
  for (const [index, gate] of gates.entries()) {
    const path = ['featureGates', index]
    if (typeof gate !== 'string') continue
    const [name = '', value = 'true'] = gate.split('=', 2)
    const why = GATES.get(name)
    if (!GATES.has(name)) {
      problems.error(path, `unknown feature gate "${name}"${suggestion(name, names)}`)
    } else if (value !== 'true' && value !== 'false') {
      problems.error(path, `"${name}" must be true or false, got "${value}"`)
    } else if (value === 'true' && why !== undefined) {
      problems.warn(path, `the feature gate "${name}" of llm-d has no effect: ${why}`)
    }
  }
}
