import type { AttributeKey } from './attributes.ts'
import { Container } from './container.ts'
import { SchedulerError } from './errors.ts'
import { PluginProbe } from './instrument.ts'
import type { AnyPlugin, Handler, Kind, Kinds, Observer, Producer } from './plugin.ts'
import { type Configured, Profile } from './routing/profile.ts'
import { LOGGER, METRICS } from './services.ts'
import { token } from './token.ts'

/** One plugin with checked params, under the name by which profiles refer to it. */
export interface PluginSpec {
  readonly name: string
  readonly plugin: AnyPlugin
  /** Checked against the plugin's schema, defaults filled in. */
  readonly params: unknown
}

/** One profile in terms of plugin names. */
export interface ProfileSpec {
  readonly name: string
  /** In the order in which they run. */
  readonly filters: readonly string[]
  readonly scorers: readonly { readonly name: string; readonly weight: number }[]
  readonly picker: string
}

/** A checked configuration. */
export interface GenerationSpec {
  readonly plugins: readonly PluginSpec[]
  readonly profiles: readonly ProfileSpec[]
  readonly handler: string
}

/** A producer that some plugin of the generation needs. */
export interface ConfiguredProducer extends Configured<Producer> {
  readonly key: AttributeKey<unknown>
}

/** A configuration put to work. Services live on when it is replaced. */
export interface Generation extends AsyncDisposable {
  /** 1 for the first, one more with each reload. */
  readonly id: number
  readonly profiles: ReadonlyMap<string, Profile>
  readonly profileNames: readonly string[]
  readonly handler: Configured<Handler>
  /** In the order in which they must run: a producer after those whose data it needs. */
  readonly producers: readonly ConfiguredProducer[]
  readonly observers: readonly Configured<Observer>[]
  readonly watchesResponses: boolean
}

type Instance = Kinds[Kind] & Observer

/**
 * Builds every plugin of a checked configuration through a child of `services`.
 *
 * @param builtin plugins from which a producer is taken, with its default params, when nothing configured makes the
 *   needed data
 * @throws {SchedulerError} SERVICE_MISSING, SERVICE_CYCLE, or CONFIG_INVALID when data has no producer
 */
export function buildGeneration(
  id: number,
  spec: GenerationSpec,
  services: Container,
  builtin: readonly AnyPlugin[],
  defaultParams: (plugin: AnyPlugin) => unknown,
): Generation {
  const container = new Container(services)
  const metrics = container.get(METRICS)
  const logger = container.get(LOGGER)
  const specs = [...spec.plugins]
  const producers = orderProducers(specs, builtin, defaultParams)

  const built = new Map<string, Configured<Instance> & { readonly spec: PluginSpec }>()
  for (const pluginSpec of specs) {
    const { name, plugin, params } = pluginSpec
    const key = token<Instance>(`${plugin.kind} "${name}"`)
    container.provide(key, plugin.inject, (injected) => plugin.create(params, injected) as Instance)
    const probe = new PluginProbe(plugin.kind, plugin.type, name, metrics, logger)
    built.set(name, { name, plugin: container.get(key), probe, spec: pluginSpec })
  }
  const find = <T>(name: string) => built.get(name) as unknown as Configured<T>

  const profiles = new Map(
    spec.profiles.map((profile) => [
      profile.name,
      new Profile(
        profile.name,
        profile.filters.map((name) => find<Kinds['filter']>(name)),
        profile.scorers.map(({ name, weight }) => ({ ...find<Kinds['scorer']>(name), weight })),
        find<Kinds['picker']>(profile.picker),
      ),
    ]),
  )
  const all = [...built.values()]
  return {
    id,
    profiles,
    profileNames: [...profiles.keys()],
    handler: find<Handler>(spec.handler),
    producers: producers.map(({ name, plugin }) => ({
      ...find<Producer>(name),
      key: plugin.produces!,
    })),
    observers: all.filter(
      ({ plugin }) =>
        plugin.activated ??
        plugin.picked ??
        plugin.responseHeaders ??
        plugin.responded ??
        plugin.ended,
    ) as Configured<Observer>[],
    watchesResponses: all.some(({ spec }) => spec.plugin.watchesResponses),
    [Symbol.asyncDispose]: () => container[Symbol.asyncDispose](),
  }
}

/** The producers that the configured plugins need, dependencies first; adds the built-in ones that are missing. */
function orderProducers(
  specs: PluginSpec[],
  builtin: readonly AnyPlugin[],
  defaultParams: (plugin: AnyPlugin) => unknown,
): readonly PluginSpec[] {
  const ordered: PluginSpec[] = []
  const visiting: PluginSpec[] = []
  const visit = (asker: PluginSpec, key: AttributeKey<unknown>) => {
    const producer = producerOf(key, asker)
    if (ordered.includes(producer)) return
    if (visiting.includes(producer)) {
      throw new SchedulerError(
        'CONFIG_INVALID',
        `producers need each other's data: ${[...visiting, producer].map(({ name }) => name).join(' -> ')}`,
      )
    }
    visiting.push(producer)
    for (const need of producer.plugin.needs) visit(producer, need)
    visiting.pop()
    ordered.push(producer)
  }
  const producerOf = (key: AttributeKey<unknown>, asker: PluginSpec): PluginSpec => {
    const configured = specs.find(({ plugin }) => plugin.produces === key)
    if (configured) return configured
    const plugin = builtin.find(({ produces }) => produces === key)
    if (!plugin) {
      throw new SchedulerError(
        'CONFIG_INVALID',
        `plugin "${asker.name}" needs ${key.name}, which no producer makes; add a producer of it to "plugins"`,
      )
    }
    const spec = { name: plugin.type, plugin, params: defaultParams(plugin) }
    specs.push(spec)
    return spec
  }
  for (const spec of [...specs]) for (const key of spec.plugin.needs) visit(spec, key)
  return ordered
}
