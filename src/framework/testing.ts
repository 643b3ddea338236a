/** What a plugin's author tests with; published as `endpoint-picker/testing`. */

import assert from 'node:assert/strict'
import { Ajv } from 'ajv'
import { type AttributeKey, Attributes, PROMPT_TOKENS } from './attributes.ts'
import { type Endpoint, type EndpointMetrics, hostPort, sharedPortName } from './endpoint.ts'
import { METRICS_SCRAPING } from './metrics-scraping.ts'
import type { AnyPlugin, Filter, Picker, Scorer } from './plugin.ts'
import { seededRandom } from './random.ts'
import type { InferenceRequest } from './request.ts'
import { InFlightLedger } from './routing/in-flight.ts'
import {
  CLOCK,
  GHOST_INDEX,
  IN_FLIGHT,
  PREFIX_INDEX,
  PREFIX_MATCHER,
  type PrefixMatch,
  RANDOM,
  ROUTED_PREFIX_INDEX,
  TOKENIZER,
} from './services.ts'
import type { Token } from './token.ts'

export interface EndpointInput {
  readonly name?: string
  readonly address?: string
  readonly port?: number
  readonly slot?: number
  readonly rank?: number
  /** True for one of several ranks behind one port; false when absent. */
  readonly sharesPort?: boolean
  readonly labels?: Readonly<Record<string, string>>
  /** Leave out for an endpoint that was never scraped. */
  readonly metrics?: Partial<EndpointMetrics>
}

let endpointsMade = 0

/** An endpoint of which only what the test is about need be said. */
export function endpoint(input: EndpointInput = {}): Endpoint {
  const slot = input.slot ?? endpointsMade++
  const name = input.name ?? `endpoint-${slot}`
  const address = input.address ?? `10.0.${slot >> 8}.${slot & 255}`
  const port = input.port ?? 8000
  const rank = input.rank ?? 0
  const named = input.sharesPort ? sharedPortName(address, port, rank) : hostPort(address, port)
  return Object.freeze({
    id: `default/${name} ${named} 1`,
    slot,
    namespace: 'default',
    name,
    address,
    port,
    hostPort: named,
    rank,
    labels: new Map(Object.entries(input.labels ?? {})),
    metrics:
      input.metrics &&
      Object.freeze({
        waiting: 0,
        running: 0,
        kvCacheUsage: 0,
        blockTokens: undefined,
        kvBlocks: undefined,
        hashAlgorithm: undefined,
        adapters: undefined,
        custom: new Map(),
        scrapedAtMs: 0,
        ...input.metrics,
      }),
  })
}

export interface RequestInput extends Partial<Omit<InferenceRequest, 'headers' | 'attributes'>> {
  readonly headers?: Readonly<Record<string, string>>
  /** Token ids of one prompt; sets the data that `token-producer` would have made. */
  readonly tokens?: readonly number[]
  readonly attributes?: readonly (readonly [AttributeKey<unknown>, unknown])[]
}

/** A request of which only what the test is about need be said. */
export function request(input: RequestInput = {}): InferenceRequest {
  const { headers, tokens, attributes: given, ...fields } = input
  const attributes = new Attributes()
  if (tokens) attributes.set(PROMPT_TOKENS, { prompts: [Int32Array.from(tokens)], exact: true })
  for (const [key, value] of given ?? []) attributes.set(key, value)
  return {
    id: 'request',
    path: '/v1/chat/completions',
    model: 'model',
    targetModel: fields.model ?? 'model',
    criticality: 'Standard',
    priority: 0,
    prompt: undefined,
    cacheSalt: undefined,
    maxOutputTokens: undefined,
    stream: false,
    bodyBytes: 0,
    ...fields,
    headers: new Map(Object.entries(headers ?? {})),
    attributes,
  }
}

/** The params of a plugin with its schema's defaults filled in. @throws when the plugin's schema refuses them */
export function paramsOf(plugin: AnyPlugin, params: Readonly<Record<string, unknown>> = {}): never {
  const filled = structuredClone(params)
  const ajv = new Ajv({ useDefaults: true, strict: false, allErrors: true })
  const check = ajv.compile(plugin.params)
  assert.ok(check(filled), `params of ${plugin.type}: ${ajv.errorsText(check.errors)}`)
  return filled as never
}

/** Services that know nothing: no load, no cached blocks, a fixed clock, a seeded generator. */
function emptyServices(): ReadonlyMap<Token<unknown>, unknown> {
  const nothing = (_: unknown, __: unknown, endpoints: readonly Endpoint[]): PrefixMatch => ({
    blocks: new Int32Array(endpoints.length),
    weighted: new Float64Array(endpoints.length),
    blockTokens: new Int32Array(endpoints.length).fill(16),
    usableBlocks: new Int32Array(endpoints.length).fill(1),
  })
  const index = {
    match: nothing,
    speculate: () => ({ expireIn() {} }),
    tracks: () => false,
    record() {},
    configure() {},
  }
  return new Map<Token<unknown>, unknown>([
    [CLOCK, { nowMs: () => 0, epochMs: () => 0 }],
    [RANDOM, seededRandom(1)],
    [IN_FLIGHT, new InFlightLedger()],
    [PREFIX_INDEX, index],
    [ROUTED_PREFIX_INDEX, index],
    [GHOST_INDEX, index],
    [METRICS_SCRAPING, { engines: () => () => {}, source() {}, reset() {} }],
    [
      PREFIX_MATCHER,
      {
        find: (asked: InferenceRequest, endpoints: readonly Endpoint[]) => ({
          endpoints,
          match: nothing(asked, undefined, endpoints),
          source: 'routed',
          tracked: 0,
        }),
        configure() {},
      },
    ],
    [
      TOKENIZER,
      {
        tokenize: () => ({ prompts: [new Int32Array(64)], exact: false, reason: 'test' }),
        decode: () => undefined,
        configure() {},
      },
    ],
  ])
}

export interface CheckOptions {
  /** Params for a plugin that cannot do without. */
  readonly params?: Readonly<Record<string, unknown>>
  /** Services for a plugin that injects others than the host's own. */
  readonly services?: Readonly<Record<string, unknown>>
}

/**
 * Holds a plugin to its contract: names, described params, defaults that stand alone, and for scorers, filters and pickers
 * the shape of the answer for one and many endpoints, with inputs that must not be changed.
 *
 * @throws {assert.AssertionError} for the first promise that does not hold
 */
export function checkPlugin(plugin: AnyPlugin, options: CheckOptions = {}): void {
  assert.match(plugin.type, /^[a-z0-9]+(-[a-z0-9]+)*$/, 'type: lower-case words joined by hyphens')
  assert.ok(plugin.description?.length > 0, `${plugin.type}: description is missing`)
  for (const [name, schema] of Object.entries(
    plugin.params.properties as Record<string, { description?: string }>,
  )) {
    assert.ok(schema.description, `${plugin.type}: param "${name}" has no description`)
  }
  const services = emptyServices()
  const injected = Object.fromEntries(
    Object.entries(plugin.inject as Record<string, Token<unknown>>).map(([name, token]) => {
      const service = options.services?.[name] ?? services.get(token)
      assert.ok(service, `${plugin.type}: give checkPlugin the service "${name}" (${token.name})`)
      return [name, service]
    }),
  )
  const instance = plugin.create(paramsOf(plugin, options.params), injected) as Partial<
    Filter & Scorer & Picker
  >
  for (const count of [1, 3, 40]) {
    const endpoints = Object.freeze(
      Array.from({ length: count }, (_, i) =>
        i % 3 === 2 ? endpoint() : endpoint({ metrics: { waiting: i, kvCacheUsage: 1 / (i + 1) } }),
      ),
    )
    const asked = request({ tokens: [1, 2, 3] })
    if (instance.score) checkScores(plugin.type, instance.score(asked, endpoints), count)
    if (instance.filter) {
      const left = instance.filter(asked, endpoints)
      assert.ok(
        left.every((each) => endpoints.includes(each)),
        `${plugin.type}: a filter returns endpoints that it was given`,
      )
    }
    if (instance.pick) {
      const scored = Object.freeze(endpoints.map((each, i) => ({ endpoint: each, score: i })))
      const picked = instance.pick(asked, scored)
      assert.ok(picked.length > 0, `${plugin.type}: a picker picks at least one`)
      assert.equal(new Set(picked).size, picked.length, `${plugin.type}: no endpoint twice`)
    }
  }
}

function checkScores(type: string, scores: ArrayLike<number>, count: number): void {
  assert.equal(scores.length, count, `${type}: one score per endpoint`)
  for (const score of Array.from(scores)) {
    assert.ok(score >= 0 && score <= 1, `${type}: scores lie in [0, 1], got ${score}`)
  }
}
