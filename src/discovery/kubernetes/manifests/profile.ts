import { isFields, listAt, type Manifest, type Path, valueAt } from './manifest.ts'

/** One thing that a policy or profile says of the engines, with its place. */
export interface Said<T> {
  readonly value: T
  readonly path: Path
}

/** What a policy or a profile says of the engines' prefix caches. */
export interface Expectation {
  readonly manifest: Manifest
  /** For people: `InferenceTrafficPolicy inference-policy`, `the profile`. */
  readonly title: string
  /** True when the engines' events are wanted. */
  readonly precise: boolean
  readonly blockTokens: Said<number> | undefined
  readonly hashSeed: Said<string> | undefined
  readonly model: Said<string> | undefined
  /** Port at which the picker dials the engines; undefined when it does not. */
  readonly dialPort: number | undefined
}

const DEFAULT_EVENT_PORT = 5557

/** Reads what an EndpointPickerConfig says of the engines, in any of the forms in which the field writes it. */
export function expectationOfProfile(manifest: Manifest, title: string): Expectation {
  const entries = entryPaths(manifest.value).filter((path) => isPrecise(manifest, path))
  const parameters = entries.map((path) => [...path, 'parameters'])
  const processors = parameters.flatMap((path) => [
    [...path, 'tokenProcessorConfig'],
    [...path, 'indexerConfig', 'tokenProcessorConfig'],
  ])
  const said = (keys: readonly string[]) =>
    processors
      .flatMap((path) => keys.map((key) => [...path, key]))
      .map((path): Said<unknown> => ({ value: valueAt(manifest.value, path), path }))
      .find(({ value }) => value !== undefined)
  return {
    manifest,
    title,
    precise: entries.length > 0,
    ...saidOf(said),
    dialPort: parameters
      .map((path) => dialPortOf(valueAt(manifest.value, [...path, 'kvEventsConfig'])))
      .find((port) => port !== undefined),
  }
}

/** Reads block size, seed and model by their names. */
export function saidOf(
  said: (keys: readonly string[]) => Said<unknown> | undefined,
): Pick<Expectation, 'blockTokens' | 'hashSeed' | 'model'> {
  const blockTokens = said(['blockSizeTokens', 'blockSize'])
  const hashSeed = said(['hashSeed'])
  const model = said(['model'])
  return {
    blockTokens:
      typeof blockTokens?.value === 'number'
        ? { ...blockTokens, value: blockTokens.value }
        : undefined,
    hashSeed: hashSeed && { ...hashSeed, value: String(hashSeed.value) },
    model: typeof model?.value === 'string' ? { ...model, value: model.value } : undefined,
  }
}

/** Entries of `plugins`, and those written inline in profiles. */
function entryPaths(config: unknown): readonly Path[] {
  const lists: Path[] = [['plugins']]
  for (const index of listAt(config, ['schedulingProfiles']).keys()) {
    lists.push(['schedulingProfiles', index, 'plugins'])
  }
  return lists.flatMap((list) => listAt(config, list).map((_, index) => [...list, index]))
}

function isPrecise({ value }: Manifest, path: Path): boolean {
  const type = valueAt(value, [...path, 'type'])
  if (type === 'precise-prefix-cache-scorer' || type === 'precise-prefix-cache-producer')
    return true
  const mode = valueAt(value, [...path, 'parameters', 'mode'])
  return type === 'prefix-cache-scorer' && mode === 'cache_tracking'
}

function dialPortOf(kvEvents: unknown): number | undefined {
  if (!isFields(kvEvents) || kvEvents.discoverPods !== true) return undefined
  const port = valueAt(kvEvents, ['podDiscoveryConfig', 'socketPort'])
  return typeof port === 'number' ? port : DEFAULT_EVENT_PORT
}
