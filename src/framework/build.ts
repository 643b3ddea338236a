import type { AttributeKey } from './attributes.ts'
import { Container } from './container.ts'
import { SchedulerError } from './errors.ts'
import { PluginProbe } from './instrument.ts'
import { NoticeScope } from './notice-scope.ts'
import { ON_ERROR, type OnError, onErrorProblem } from './on-error.ts'
import type { AnyPlugin, Handler, Kind, Kinds, Observer, Producer } from './plugin.ts'
import { Influence } from './routing/influence.ts'
import { type Configured, Profile } from './routing/profile.ts'
import type { RequestPolicy } from './routing/request-policy.ts'
import { Shadow } from './routing/shadow.ts'
import { LOGGER, METRICS, NOTICES } from './services.ts'
import { type Inject, type Services, token } from './token.ts'

/** One plugin with checked params, under the name by which profiles refer to it. */
export interface PluginSpec {
  readonly name: string
  readonly plugin: AnyPlugin
  /** Checked against the plugin's schema, defaults filled in. */
  readonly params: unknown
  /** What becomes of a request for which it fails; the default of its kind when undefined. */
  readonly onError?: OnError | undefined
  /** Milliseconds that a call may take, above 0; undefined sets no limit. */
  readonly timeBudgetMs?: number | undefined
}

/** One profile in terms of plugin names. */
export interface ProfileSpec {
  readonly name: string
  /** In the order in which they run. */
  readonly filters: readonly string[]
  readonly scorers: readonly { readonly name: string; readonly weight: number }[]
  readonly picker: string
  /** Makes it a shadow: run beside the profiles that act, without effect, in so many milliseconds for each request. */
  readonly shadow?: { readonly timeBudgetMs: number }
}

/** A checked configuration. */
export interface GenerationSpec {
  readonly plugins: readonly PluginSpec[]
  readonly profiles: readonly ProfileSpec[]
  readonly handler: string
  readonly requests?: RequestPolicy
}

/** A producer that some plugin of the generation needs. */
export interface ConfiguredProducer extends Configured<Producer> {
  readonly key: AttributeKey<unknown>
  /** True when only shadow profiles need its data: then it cannot refuse a request. */
  readonly isShadow?: boolean
}

/** A configuration put to work. Services live on when it is replaced. */
export interface Generation extends AsyncDisposable {
  /** 1 for the first, one more with each reload. */
  readonly id: number
  readonly profiles: ReadonlyMap<string, Profile>
  readonly profileNames: readonly string[]
  /** Profiles that are run beside those. */
  readonly shadows: readonly Shadow[]
  readonly handler: Configured<Handler>
  /** In the order in which they must run: a producer after those whose data it needs. */
  readonly producers: readonly ConfiguredProducer[]
  readonly observers: readonly Configured<Observer>[]
  /** True when a plugin needs to be told of responses. */
  readonly watchesResponses: boolean
  readonly requests: RequestPolicy
  /** Names, in lower case, of the request headers that its plugins say they read. */
  readonly headers: readonly string[]
  /** Names of the services that its plugins ask for. */
  readonly services: readonly string[]
  /** Takes its notices away, once another one is in force. */
  retire(): void
}

type Instance = Kinds[Kind] & Observer

interface Built extends Configured<Instance> {
  readonly onError: OnError
  readonly watchesResponses: boolean
  readonly spec: PluginSpec
}

/**
 * Builds every plugin of a checked configuration through a child of `services`.
 *
 * @param builtin plugins from which a producer is taken, with its default params, when nothing configured makes the
 *   needed data
 * @throws {SchedulerError} SERVICE_MISSING, SERVICE_CYCLE, or CONFIG_INVALID when data has no producer or a plugin cannot
 *   be made; those made before it are disposed of
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
  const notices = new NoticeScope(container.get(NOTICES))
  const specs = [...spec.plugins]
  const shadowOnly = shadowOnlyNames(spec.profiles)
  const needed = orderProducers(
    spec.plugins.filter(({ name }) => !shadowOnly.has(name)),
    builtin,
    defaultParams,
  ).map(({ name }) => name)
  const producers = orderProducers(specs, builtin, defaultParams)

  /** @param called by its metrics and messages */
  const build = (pluginSpec: PluginSpec, called = pluginSpec.name): Built => {
    const { name, plugin, timeBudgetMs } = pluginSpec
    const { kind, type } = plugin
    const onError = pluginSpec.onError ?? ON_ERROR[kind].allowed[0]
    const problem = onErrorProblem(kind, onError)
    if (problem !== undefined) {
      throw new SchedulerError('CONFIG_INVALID', `plugin "${name}": ${problem}`)
    }
    const key = token<Instance>(`${kind} "${name}"`)
    container.provide(key, plugin.inject, (injected) => instanceOf(pluginSpec, injected))
    const probe = new PluginProbe(
      { kind, type, name: called, timeBudgetMs },
      { metrics, logger, notices },
    )
    return {
      ...{ name, plugin: container.get(key), probe, onError, spec: pluginSpec },
      watchesResponses: watches(pluginSpec),
    }
  }
  const built = new Map<string, Built>()
  /** Plugins of a shadow profile are its own: they keep what they saw of a request until it has ended. */
  const shadowed = new Map<ProfileSpec, ReadonlyMap<string, Built>>()
  try {
    for (const each of specs) if (!shadowOnly.has(each.name)) built.set(each.name, build(each))
    for (const profile of spec.profiles.filter(({ shadow }) => shadow)) {
      const own = specs.filter(({ name }) => namesIn(profile).includes(name))
      shadowed.set(
        profile,
        new Map(own.map((each) => [each.name, build(each, `${profile.name}/${each.name}`)])),
      )
    }
  } catch (error) {
    container[Symbol.asyncDispose]().catch((fault: unknown) =>
      logger.error('A plugin of a configuration that was given up failed to close', {
        problem: fault instanceof Error ? fault.message : String(fault),
      }),
    )
    throw error
  }
  const find = <T>(name: string, among: ReadonlyMap<string, Built> = built) =>
    among.get(name) as unknown as Configured<T> & Built
  const profileOf = (profile: ProfileSpec, among: ReadonlyMap<string, Built>) =>
    new Profile(
      profile.name,
      profile.filters.map((name) => find<Kinds['filter']>(name, among)),
      profile.scorers.map(({ name, weight }) => {
        const scorer = find<Kinds['scorer']>(name, among)
        const { differsWhen } = scorer.spec.plugin
        const of = { profile: profile.name, scorer: name, weight, differsWhen }
        return { ...scorer, weight, influence: new Influence(of, metrics, notices) }
      }),
      find<Kinds['picker']>(profile.picker, among),
    )

  const profiles = new Map(
    spec.profiles
      .filter(({ shadow }) => shadow === undefined)
      .map((profile) => [profile.name, profileOf(profile, built)]),
  )
  const shadows = [...shadowed].map(
    ([profile, among]) =>
      new Shadow(
        profileOf(profile, among),
        observersIn([...among.values()]),
        profile.shadow!.timeBudgetMs,
        { metrics, notices, logger },
      ),
  )
  const all = [...built.values()]
  const everyone = [...all, ...[...shadowed.values()].flatMap((among) => [...among.values()])]
  return {
    id,
    profiles,
    profileNames: [...profiles.keys()],
    handler: find<Handler>(spec.handler),
    producers: producers.map(({ name, plugin }) => ({
      ...find<Producer>(name),
      key: plugin.produces!,
      isShadow: !needed.includes(name),
    })),
    shadows,
    observers: observersIn(all),
    watchesResponses: everyone.some(({ watchesResponses }) => watchesResponses),
    requests: spec.requests ?? {},
    headers: [...new Set(specs.flatMap(headersReadBy))],
    services: [
      ...new Set(specs.flatMap(({ plugin }) => Object.values(plugin.inject as Inject))),
    ].map(({ name }) => name),
    retire: () => notices[Symbol.dispose](),
    async [Symbol.asyncDispose]() {
      notices[Symbol.dispose]()
      await container[Symbol.asyncDispose]()
    },
  }
}

/** Plugins that only shadow profiles list. */
function shadowOnlyNames(profiles: readonly ProfileSpec[]): ReadonlySet<string> {
  const acting = profiles.filter(({ shadow }) => shadow === undefined).flatMap(namesIn)
  const shadowed = profiles.filter(({ shadow }) => shadow !== undefined).flatMap(namesIn)
  return new Set(shadowed.filter((name) => !acting.includes(name)))
}

function namesIn({ filters, scorers, picker }: ProfileSpec): readonly string[] {
  return [...filters, ...scorers.map(({ name }) => name), picker]
}

function observersIn(built: readonly Built[]): readonly Configured<Observer>[] {
  return built.filter(
    ({ plugin }) =>
      plugin.activated ??
      plugin.picked ??
      plugin.responseHeaders ??
      plugin.responded ??
      plugin.ended,
  )
}

/** The method without which a plugin of a kind is none. */
const METHODS: Readonly<Record<Kind, string | undefined>> = {
  filter: 'filter',
  scorer: 'score',
  picker: 'pick',
  handler: 'next',
  producer: 'produce',
  observer: undefined,
}

/** @throws {SchedulerError} CONFIG_INVALID, naming the plugin, with what it threw as the cause */
function instanceOf(spec: PluginSpec, services: Services<Inject>): Instance {
  const { kind } = spec.plugin
  const instance: unknown = ask(spec, (plugin) => plugin.create(spec.params, services))
  if (typeof instance !== 'object' || instance === null) {
    throw fault(spec, `create must give an object, got ${instance}`)
  }
  const method = METHODS[kind]
  if (method !== undefined && typeof Reflect.get(instance, method) !== 'function') {
    throw fault(spec, `create gave a ${kind} without the method ${method}`)
  }
  return instance as Instance
}

/** Whether a plugin with these params must be told of responses. @throws as `instanceOf` */
function watches(spec: PluginSpec): boolean {
  const { watchesResponses } = spec.plugin
  if (typeof watchesResponses !== 'function') return watchesResponses
  return ask(spec, () => watchesResponses(spec.params))
}

/** Names, in lower case, of the request headers that a plugin with these params says it reads. @throws as `instanceOf` */
function headersReadBy(spec: PluginSpec): readonly string[] {
  const { reads } = spec.plugin
  const read = typeof reads === 'function' ? ask(spec, () => reads(spec.params)) : reads
  return (read?.headers ?? []).map((name) => name.toLowerCase())
}

function ask<T>(spec: PluginSpec, question: (plugin: AnyPlugin) => T): T {
  try {
    return question(spec.plugin)
  } catch (cause) {
    throw fault(spec, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function fault({ name, plugin }: PluginSpec, text: string, cause?: unknown): SchedulerError {
  const called = name === plugin.type ? `"${name}"` : `"${name}" (${plugin.type})`
  const message = `the plugin ${called} cannot be made: ${text}; mend it, change its parameters, or take it out`
  return new SchedulerError('CONFIG_INVALID', message, { cause })
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
