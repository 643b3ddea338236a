import { stringify } from 'yaml'
import type { PluginSpec, ProfileSpec } from '../framework/build.ts'
import type { AnyPlugin } from '../framework/plugin.ts'
import { responsesText } from '../framework/routing/request-policy.ts'
import { type CommentedLine, commentedLines } from './commented-yaml.ts'
import type { Origin } from './lint-input.ts'
import { type CheckedConfig, defaultParams } from './parse.ts'
import type { Path } from './problem.ts'
import { isDefault } from './schema-default.ts'
import { API_VERSIONS } from './shape.ts'

/** Says where in its text a configuration has what stands at a path, such as `profile.yaml:12`. */
export type PlaceText = (path: Path) => string

const DEFAULT = 'default'
const STANDS_IN = 'stands in'
const REQUEST_FIELDS: readonly string[] = [
  'responses',
  'saltHeader',
  'dataParallel',
  'dataParallelSize',
  'decisionHeader',
]

/**
 * A checked configuration as lines of YAML: every plugin that is put to work, with all its parameters, and every profile
 * with its weights, each with where its value comes from. Read again they give the same configuration.
 *
 * @param builtin plugins of which a producer stands in where none of the data that is needed is configured
 */
export function effectiveConfig(
  config: CheckedConfig,
  place: PlaceText,
  builtin: readonly AnyPlugin[],
): readonly CommentedLine[] {
  const { spec, modules, tokenizers, metricsCompat } = config
  const { responses, ...requests } = spec.requests ?? {}
  const plugins = [...spec.plugins, ...standInProducers(spec.plugins, builtin)]
  const text = stringify(
    {
      apiVersion: API_VERSIONS[1],
      kind: 'EndpointPickerConfig',
      ...(modules.length > 0 && { modules }),
      plugins: plugins.map(pluginEntry),
      schedulingProfiles: spec.profiles.map(profileEntry),
      ...(Object.keys(tokenizers).length > 0 && { tokenizers }),
      ...(metricsCompat && { metrics: { compat: true } }),
      ...(responses !== undefined && { responses: responsesText(responses) }),
      ...requests,
    },
    { aliasDuplicateObjects: false, lineWidth: 0 },
  )
  return commentedLines(text, ([section, index, ...inner]) => {
    if (section === 'plugins') return pluginComment(plugins[Number(index)]!, inner, config, place)
    if (section === 'schedulingProfiles') return profileComment(Number(index), inner, config, place)
    if (REQUEST_FIELDS.includes(String(section))) return place([section!])
    return index === undefined ? undefined : place([section!, index, ...inner])
  })
}

/** What is built besides the configured plugins, since these need its data. */
function standInProducers(
  configured: readonly PluginSpec[],
  builtin: readonly AnyPlugin[],
): readonly PluginSpec[] {
  const found: PluginSpec[] = []
  const add = ({ needs }: AnyPlugin) => {
    for (const need of needs) {
      const makes = ({ produces }: AnyPlugin) => produces === need
      if ([...configured, ...found].some(({ plugin }) => makes(plugin))) continue
      const plugin = builtin.find(makes)
      if (plugin === undefined) continue
      found.push({ name: plugin.type, plugin, params: defaultParams(plugin) })
      add(plugin)
    }
  }
  for (const { plugin } of configured) add(plugin)
  return found
}

function pluginEntry({ name, plugin, params, onError, timeBudgetMs }: PluginSpec) {
  return {
    ...(name !== plugin.type && { name }),
    type: plugin.type,
    ...(Object.keys(params as object).length > 0 && { parameters: params }),
    ...(onError !== undefined && { onError }),
    ...(timeBudgetMs !== undefined && { timeBudgetMs }),
  }
}

function profileEntry({ name, filters, scorers, picker, shadow }: ProfileSpec) {
  return {
    name,
    ...(shadow && { shadow: true, ...shadow }),
    plugins: [
      ...filters.map((pluginRef) => ({ pluginRef })),
      ...scorers.map((scorer) => ({ pluginRef: scorer.name, weight: scorer.weight })),
      { pluginRef: picker },
    ],
  }
}

/** @param path within the entry of `plugins` */
function pluginComment(
  { name, plugin, params }: PluginSpec,
  [field, ...path]: Path,
  { origins }: CheckedConfig,
  place: PlaceText,
): string {
  const origin = origins.get(name)
  const standsIn = origin === undefined || origin.path.length === 0
  if (field === 'parameters') {
    if (origin !== undefined && has(origin.given, path))
      return place([...origin.paramsPath, ...path])
    if (isDefault(plugin.params, params, path)) return DEFAULT
    // Written under another name, or made of what another plugin has.
    return standsIn ? STANDS_IN : place(origin.paramsPath)
  }
  if (standsIn) return STANDS_IN
  return field === 'type' ? typeComment(plugin, origin, place) : place([...origin.path, field!])
}

function typeComment(plugin: AnyPlugin, { type, path }: Origin, place: PlaceText): string {
  const at = place([...path, 'type'])
  return type === undefined || type === plugin.type ? at : `alias of ${type}, ${at}`
}

/** @param path within the entry of `schedulingProfiles` */
function profileComment(
  index: number,
  [field, position, part]: Path,
  { profiles, spec }: CheckedConfig,
  place: PlaceText,
): string {
  const { path, items } = profiles[index]!
  if (field === 'shadow') return place([...path, field])
  if (field === 'timeBudgetMs')
    return profiles[index]!.shadow?.isGiven ? place([...path, field]) : DEFAULT
  if (field === 'name') return path.length === 0 ? DEFAULT : place([...path, 'name'])
  const { pluginRef } = profileEntry(spec.profiles[index]!).plugins[Number(position)]!
  const item = items.find(({ entry }) => entry.name === pluginRef)
  if (part === 'weight') return item?.weight === undefined ? DEFAULT : place([...item.path, part])
  return item === undefined ? STANDS_IN : place(item.path)
}

function has(value: unknown, path: Path): boolean {
  let inner = value
  for (const step of path) {
    if (typeof inner !== 'object' || inner === null || !Object.hasOwn(inner, step)) return false
    inner = (inner as Record<string | number, unknown>)[step]
  }
  return inner !== undefined
}
