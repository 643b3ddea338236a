import { type Fault, readObject } from './field.ts'
import { type ObjectMeta, readMeta, readPoolName } from './object-meta.ts'

/** An InferenceObjective: the priority of requests that name it. Source: GIE's apix/v1alpha2, llm-d.ai/v1alpha2. */
export interface InferenceObjective {
  readonly meta: ObjectMeta
  readonly poolName: string
  /** Larger is served first, below 0 may be shed; 0 when unset. */
  readonly priority: number
}

const LEAST_INT32 = -(2 ** 31)
const MOST_INT32 = 2 ** 31 - 1

/** Reads an InferenceObjective, or says what is wrong with it. */
export function readInferenceObjective(object: unknown): InferenceObjective | Fault {
  return readObject(object, (root) => {
    const spec = root.get('spec')
    const priority = spec.get('priority')
    return {
      meta: readMeta(root),
      poolName: readPoolName(spec),
      priority: priority.present ? priority.integer(LEAST_INT32, MOST_INT32) : 0,
    }
  })
}
