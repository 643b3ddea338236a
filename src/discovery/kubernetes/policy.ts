import { type Fault, isFault } from './objects/field.ts'
import {
  type InferenceTrafficPolicy,
  readInferenceTrafficPolicy,
} from './objects/inference-traffic-policy.ts'
import type { TrafficPolicy } from './pool-host.ts'

type PluginEntry = Readonly<Record<string, unknown>>

/** The scorers and the picker that every policy gets: those of config/profiles/weights.yaml. */
const LOAD_PLUGINS: readonly PluginEntry[] = [
  { type: 'queue-scorer', weight: 2 },
  { type: 'kv-cache-utilization-scorer', weight: 2 },
  { type: 'active-request-scorer', weight: 4, parameters: { idleThreshold: 40 } },
  { type: 'max-score-picker' },
]
const PREFIX_WEIGHT = 3

/** The configuration of a pool that no policy names: load alone, as an EndpointPickerConfig in plain values. */
export const DEFAULT_POOL_CONFIG = configOf([])

/** The configuration that an InferenceTrafficPolicy object stands for, or why it stands for none. */
export function policyOf(object: unknown): TrafficPolicy | Fault {
  const policy = readInferenceTrafficPolicy(object)
  return isFault(policy) ? policy : trafficPolicyOf(policy)
}

/** The configuration that a policy stands for. */
export function trafficPolicyOf(policy: InferenceTrafficPolicy): TrafficPolicy {
  const { namespace, name } = policy.meta
  return {
    source: `InferenceTrafficPolicy ${namespace}/${name}`,
    config: configOf(prefixScorer(policy)),
    warnings: policy.warnings,
  }
}

function prefixScorer({ mode, tokenProcessor }: InferenceTrafficPolicy): readonly PluginEntry[] {
  switch (mode) {
    case 'none':
      return []
    case 'estimate':
      return [{ type: 'prefix-cache-scorer', weight: PREFIX_WEIGHT }]
    case 'tracking':
      return [
        {
          type: 'precise-prefix-cache-scorer',
          weight: PREFIX_WEIGHT,
          parameters: {
            ...(tokenProcessor && { tokenProcessorConfig: { ...tokenProcessor } }),
            speculativeIndexing: true,
          },
        },
      ]
  }
}

function configOf(prefix: readonly PluginEntry[]): Readonly<Record<string, unknown>> {
  return {
    apiVersion: 'inference.networking.x-k8s.io/v1alpha1',
    kind: 'EndpointPickerConfig',
    schedulingProfiles: [{ name: 'default', plugins: [...prefix, ...LOAD_PLUGINS] }],
  }
}
