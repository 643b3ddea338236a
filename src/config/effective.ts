import { stringify } from 'yaml'
import type { PluginSpec, ProfileSpec } from '../framework/build.ts'
import type { CheckedConfig } from './parse.ts'
import { API_VERSIONS } from './shape.ts'

/**
 * A checked configuration as YAML: every plugin that is put to work, with all its parameters, and every profile with its
 * weights. Read again it gives the same configuration.
 */
export function effectiveConfig(config: CheckedConfig): string {
  const { spec, modules, tokenizers, metricsCompat } = config
  return stringify(
    {
      apiVersion: API_VERSIONS[1],
      kind: 'EndpointPickerConfig',
      ...(modules.length > 0 && { modules }),
      plugins: spec.plugins.map(pluginEntry),
      schedulingProfiles: spec.profiles.map(profileEntry),
      ...(Object.keys(tokenizers).length > 0 && { tokenizers }),
      ...(metricsCompat && { metrics: { compat: true } }),
    },
    { aliasDuplicateObjects: false, lineWidth: 0 },
  )
}

function pluginEntry({ name, plugin, params }: PluginSpec) {
  const parameters = Object.keys(params as object).length > 0 ? { parameters: params } : {}
  return { ...(name !== plugin.type && { name }), type: plugin.type, ...parameters }
}

function profileEntry({ name, filters, scorers, picker }: ProfileSpec) {
  return {
    name,
    plugins: [
      ...filters.map((pluginRef) => ({ pluginRef })),
      ...scorers.map((scorer) => ({ pluginRef: scorer.name, weight: scorer.weight })),
      { pluginRef: picker },
    ],
  }
}
