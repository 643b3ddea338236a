import type { EndpointSpec } from '../../framework/endpoint.ts'
import type { RequestRules } from '../../framework/services.ts'

/** The name of an InferencePool, or of what stands for one. */
export interface PoolRef {
  readonly namespace: string
  readonly name: string
}

/** A pool's InferenceTrafficPolicy, turned into a configuration. */
export interface TrafficPolicy {
  /** Such as `InferenceTrafficPolicy default/inference-policy`. */
  readonly source: string
  /** An EndpointPickerConfig as plain values, to be checked like a file. */
  readonly config: Readonly<Record<string, unknown>>
  /** What of the policy has no effect, each in one sentence with the field's path. */
  readonly warnings: readonly string[]
}

/** Takes what Kubernetes says about one pool. Each call states the whole of its subject; none may throw. */
export interface PoolSink {
  endpoints(specs: readonly EndpointSpec[]): void
  rules(rules: RequestRules): void
  /** Undefined when no policy names the pool. */
  policy(policy: TrafficPolicy | undefined): void
  /** Name of the Service that the pool names as its picker; undefined when it names none. */
  pickerService(name: string | undefined): void
}

/** Where discovery puts the pools that it finds. */
export interface PoolHost {
  /** Called once for each pool that is served, before anything is said about it. */
  open(pool: PoolRef): PoolSink
  /** The pool is not served any more; its sink is not called again. */
  close(pool: PoolRef): void
}
