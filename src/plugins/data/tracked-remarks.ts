import type { PluginUse, Remark } from '../../framework/plugin.ts'
import { oneConfiguration } from '../one-configuration.ts'
import { mediumWeightsOf, type TrackedParams, tokenProcessorOf } from './tracked-params.ts'

/** What has no effect in the params, and what another plugin of the type says otherwise. */
export function trackedRemarks(params: TrackedParams, use: PluginUse): readonly Remark[] {
  const remarks: Remark[] = [...oneConfiguration('the index of tracked blocks', use)]
  const unused = (why: string, ...path: readonly string[]) =>
    remarks.push({ kind: 'unused', path, message: `${why}, so that this has no effect; keep one` })
  const { tokenProcessorConfig: outer, indexerConfig, kvEventsConfig } = params
  const inner = indexerConfig?.tokenProcessorConfig
  for (const key of Object.keys(outer ?? {})) {
    unused(
      `tokenProcessorConfig.${key} says it already`,
      'indexerConfig',
      'tokenProcessorConfig',
      key,
    )
  }
  if (tokenProcessorOf(params).blockSizeTokens !== undefined) {
    const path =
      outer?.blockSize === undefined
        ? ['indexerConfig', 'tokenProcessorConfig']
        : ['tokenProcessorConfig']
    if ((outer?.blockSize ?? inner?.blockSize) !== undefined) {
      unused('blockSizeTokens says it already', ...path, 'blockSize')
    }
  }
  if (!params.speculativeIndexing) unused('speculativeIndexing is false', 'speculativeTTL')
  if (kvEventsConfig?.discoverPods !== true) {
    const path = ['kvEventsConfig', 'podDiscoveryConfig', 'socketPort']
    unused('engines are dialled only where discoverPods is true', ...path)
  }
  if (indexerConfig?.kvBlockIndexConfig?.enableMetrics === false) {
    unused(
      'enableMetrics is false',
      'indexerConfig',
      'kvBlockIndexConfig',
      'metricsLoggingInterval',
    )
  }
  if (!params.truth.enabled) {
    for (const key of ['window', 'maxWrong', 'tolerance', 'minTokens', 'recoverAfter']) {
      unused('truth.enabled is false', 'truth', key)
    }
  }
  const mediums = mediumWeightsOf(params)
  if (Object.values(mediums).every((weight) => weight === 0)) {
    const message = 'a block is worth 0 in every medium, so that every endpoint scores 0; raise one'
    remarks.push({ kind: 'warning', path: ['indexerConfig', 'kvCacheBackendConfigs'], message })
  }
  return remarks
}
