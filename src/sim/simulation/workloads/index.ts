import type { WorkloadKind } from '../workload.ts'
import { agentic } from './agentic.ts'
import { burst } from './burst.ts'
import { b2b, b2bShort, q1 } from './business.ts'
import { codeGen } from './code-gen.ts'
import { heldOut } from './held-out.ts'
import { cold, reasoning } from './single-prompts.ts'

/** Every workload by name, in the order in which they are shown. */
export const WORKLOADS: ReadonlyMap<string, WorkloadKind> = new Map(
  [b2b, b2bShort, codeGen, reasoning, agentic, cold, burst, heldOut, q1].map((kind) => [
    kind.name,
    kind,
  ]),
)
