import { type Endpoint, networkAddress } from '../../framework/endpoint.ts'
import { DEFAULT_LIMITS, type Limits } from '../../framework/limits.ts'
import type { Clock, Logger, Metrics, Notices } from '../../framework/services.ts'
import type { AdapterNames } from '../adapter-names.ts'
import type { ChainHasher } from '../hashing/chain-hash.ts'
import type { HashCounts } from '../hashing/hash-alignment.ts'
import type { HashingCheck } from '../hashing/hashing-check.ts'
import type { IndexEviction } from '../index-eviction.ts'
import type { Owner, TrackedEndpoint, TrackedOwners } from '../tracked-owners.ts'
import { EventDecoder } from './event-decoder.ts'
import { IntakeMetrics, type MessageResult } from './intake-metrics.ts'
import { type Coverage, type PublisherContext, PublisherState } from './publisher-state.ts'
import { Recoveries, type ReplayedMessage, type ReplaySource } from './recovery.ts'
import { type KvTopic, parseTopic } from './topic.ts'

/** The socket on which a message came: the bound one, or the one that dialled an endpoint. */
export type EventSource =
  | { readonly kind: 'bound' }
  | { readonly kind: 'dialled'; readonly endpoint: Endpoint }

/** One stream of events, for people. */
export interface PublisherStatus {
  readonly socket: 'bound' | 'dialled'
  readonly topic: string
  readonly rank: number
  readonly lastSequence: number
  readonly lastEventAgeMs: number
  readonly coverage: Coverage
  readonly gaps: number
  readonly restarts: number
  /** Stores dropped because their parent was not known. */
  readonly orphans: number
  /** Tokens per block as the events say; undefined before the first store. */
  readonly blockTokens: number | undefined
  /** Blocks that it is known to hold. */
  readonly blocks: number
  /** The hashing that reproduces its block hashes; undefined while unknown. */
  readonly algorithm: string | undefined
  readonly hashSeed: string | undefined
  /** The same in words, and what is configured where that differs. */
  readonly hashing: string
  readonly hashes: HashCounts
}

/** What is known of one endpoint's cache, for people. */
export interface EndpointCacheStatus {
  /** The endpoint's; addresses are shared by ranks. */
  readonly id: string
  readonly hostPort: string
  readonly name: string
  readonly coverage: Coverage
  readonly blockTokens: number | undefined
  readonly blocks: number
  readonly publishers: readonly PublisherStatus[]
}

/** From the best to the worst. */
const WORSE: readonly Coverage[] = ['complete', 'late', 'gap', 'replaying']
const MAX_RANK = 1023
const MAX_PUBLISHERS_PER_ENDPOINT = 64
const MAX_KNOWN_TOPICS = 4096
const MAX_TOPIC_BYTES = 1024
const MAX_SHOWN_TOPIC = 200
const MAX_SAID = 256

/**
 * Takes the messages of engines and applies their events.
 *
 * Nothing that comes in is believed further than it must be: a message for an address that discovery does not know is
 * dropped before it is decoded, a publisher is bound to the endpoint that its topic or socket names, and every drop is
 * counted in `epp_kv_event_messages_total`.
 */
export class EventIntake {
  readonly #owners: TrackedOwners
  readonly #names: AdapterNames
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #notices: Notices
  readonly #metrics: IntakeMetrics
  readonly #context: PublisherContext
  readonly #decoder = new EventDecoder()
  readonly #maxEventBytes: number
  readonly #publishers = new Map<TrackedEndpoint, Map<string, PublisherState>>()
  readonly #said = new Set<string>()
  readonly #topics = new Map<string, KvTopic | undefined>()
  #recoveries: Recoveries | undefined

  constructor(options: {
    readonly owners: TrackedOwners
    readonly eviction: IndexEviction
    readonly names: AdapterNames
    readonly hasher: ChainHasher
    readonly check: HashingCheck
    readonly clock: Clock
    readonly logger: Logger
    readonly metrics: Metrics
    readonly notices: Notices
    readonly limits?: Pick<Limits, 'maxEventBytes' | 'maxEventsPerSecond'>
  }) {
    const limits = options.limits ?? DEFAULT_LIMITS
    this.#maxEventBytes = limits.maxEventBytes
    this.#owners = options.owners
    this.#names = options.names
    this.#clock = options.clock
    this.#logger = options.logger
    this.#notices = options.notices
    this.#metrics = new IntakeMetrics(options.metrics)
    this.#context = {
      index: options.owners.index,
      eviction: options.eviction,
      hasher: options.hasher,
      names: options.names,
      check: options.check,
      metrics: this.#metrics,
      clock: options.clock,
      logger: options.logger,
      notices: options.notices,
      limits,
    }
    options.metrics.observed(
      'epp_kv_block_hashes',
      'Blocks that publishers of now have stored, by whether their hashes are reproduced.',
      () => this.#hashSamples(),
    )
    options.owners.onAdded((tracked) => this.#seed(tracked))
    options.owners.onRemoved((tracked) => this.#forget(tracked))
  }

  /** Blocks added by events since the start. */
  get admissions(): number {
    return this.#metrics.admissions
  }

  /** Blocks taken away by events since the start. */
  get evictions(): number {
    return this.#metrics.evictions
  }

  /**
   * Asks engines for what was missed, from now on: at once those that have told nothing for what they sent before, later
   * wherever a number is left out. Replaces what was asked before; undefined asks nobody.
   */
  recoverFrom(source: ReplaySource | undefined): void {
    if (this.#recoveries !== undefined) this.#stopRecoveries()
    if (source === undefined) return
    this.#recoveries = new Recoveries(
      source,
      {
        apply: (publisher, message, isLive) => {
          const result = this.#apply(publisher, message, isLive)
          // One that waited was counted when it came.
          if (!isLive) this.#metrics.message(result)
        },
        timestampOf: ({ payload }) =>
          this.#decoder.open(payload) ? this.#decoder.timestamp : undefined,
      },
      { metrics: this.#metrics, logger: this.#logger, notices: this.#notices },
    )
    for (const tracked of this.#owners.list()) this.#seed(tracked)
  }

  /** Forgets all that came on the bound sockets, or on those that dialled, since they are closed: it would grow stale. */
  forgetSource(kind: EventSource['kind']): void {
    for (const [tracked, publishers] of this.#publishers) {
      for (const [key, publisher] of publishers) {
        if (!key.startsWith(`${kind} `)) continue
        publishers.delete(key)
        this.#drop(publisher)
      }
      if (publishers.size === 0) this.#publishers.delete(tracked)
    }
    for (const tracked of this.#owners.list()) this.#seed(tracked)
  }

  close(): void {
    this.#recoveries?.close()
  }

  /**
   * Applies one message. Never throws for what it holds.
   *
   * @param frames topic, sequence (8 bytes, big-endian), payload (msgpack)
   */
  receive(source: EventSource, frames: readonly Uint8Array[]): MessageResult {
    const result = this.#receive(source, frames)
    this.#metrics.message(result)
    return result
  }

  /** True when the topic names the address of an endpoint that discovery knows. */
  knows(topic: Uint8Array): boolean {
    const named = topic.length <= MAX_TOPIC_BYTES && this.#parse(Buffer.from(topic).toString())
    return named ? this.#owners.at(named.address).length > 0 : false
  }

  /** When the endpoint's last message came, in the clock's milliseconds; -Infinity without any. */
  lastEventMs(tracked: TrackedEndpoint): number {
    let last = Number.NEGATIVE_INFINITY
    for (const { lastEventMs, lastSequence } of this.#publishers.get(tracked)?.values() ?? []) {
      if (lastSequence >= 0) last = Math.max(last, lastEventMs)
    }
    return last
  }

  /** The endpoint fills blocks and its events do not arrive: asked for them, else what it held is forgotten. */
  fellSilent(
    tracked: TrackedEndpoint,
    seen: { readonly silentMs: number; readonly computedTokens: number },
  ): void {
    const seconds = Math.round(seen.silentMs / 1000)
    const work = `no KV events for ${seconds} s while its metrics page shows ${seen.computedTokens} prompt tokens computed anew`
    this.#metrics.silence()
    this.#say(
      `kv-silent:${tracked.endpoint.hostPort}`,
      `${tracked.endpoint.hostPort} rank ${tracked.endpoint.rank}: ${work}; check its --kv-events-config and what lies between`,
    )
    for (const publisher of this.#publishers.get(tracked)?.values() ?? []) {
      if (publisher.lastSequence < 0 || publisher.replaying) continue
      if (this.#recoveries === undefined) publisher.fellSilent(work)
      else this.#recoveries.start(publisher, publisher.lastSequence + 1)
    }
  }

  /** The endpoint's events arrive again. */
  heard(tracked: TrackedEndpoint): void {
    this.#notices.set(`kv-silent:${tracked.endpoint.hostPort}`, undefined)
  }

  /** The streams of events of one endpoint. */
  publishersOf(tracked: TrackedEndpoint): Iterable<PublisherState> {
    return this.#publishers.get(tracked)?.values() ?? []
  }

  /** Every endpoint that discovery knows, also those without events. */
  status(): readonly EndpointCacheStatus[] {
    return this.#owners.list().map((tracked) => {
      const publishers = [...(this.#publishers.get(tracked)?.values() ?? [])]
      return {
        id: tracked.endpoint.id,
        hostPort: tracked.endpoint.hostPort,
        name: tracked.endpoint.name,
        coverage: this.coverage(tracked),
        blockTokens: tracked.blockTokens,
        blocks: tracked.owners.reduce((sum, owner) => sum + owner.join.size, 0),
        publishers: publishers.map((publisher) => this.#publisherStatus(publisher)),
      }
    })
  }

  /** The worst of the endpoint's publishers that have told anything, `none` without any. */
  coverage(tracked: TrackedEndpoint): Coverage {
    let worst = -1
    for (const { coverage } of this.#publishers.get(tracked)?.values() ?? []) {
      worst = Math.max(worst, WORSE.indexOf(coverage))
    }
    return WORSE[worst] ?? 'none'
  }

  #receive(source: EventSource, frames: readonly Uint8Array[]): MessageResult {
    const [topicBytes, sequenceBytes, payload] = frames
    if (
      frames.length !== 3 ||
      sequenceBytes!.length !== 8 ||
      topicBytes!.length > MAX_TOPIC_BYTES
    ) {
      this.#logger.warnOnce(
        'kv-frames',
        'KV event message without topic, sequence and payload dropped',
        {
          frames: frames.length,
        },
      )
      return 'bad_frames'
    }
    const sequence = readSequence(sequenceBytes!)
    if (!Number.isSafeInteger(sequence)) return 'bad_frames'
    const text = Buffer.from(
      topicBytes!.buffer,
      topicBytes!.byteOffset,
      topicBytes!.byteLength,
    ).toString()
    const topic = this.#parse(text)
    const candidates = this.#candidates(source, topic, text)
    if (typeof candidates === 'string') return candidates
    if (payload!.length > this.#maxEventBytes) {
      this.#warnOnce(
        `kv-large:${text}`,
        `KV event message of more than ${this.#maxEventBytes} bytes dropped; raise --max-event-mib where an engine means it`,
        { topic: shown(text), bytes: payload!.length },
      )
      return 'too_large'
    }
    if (!this.#decoder.open(payload!)) {
      this.#warnOnce(
        `kv-malformed:${text}`,
        'KV event message that is not a batch of events dropped',
        { topic: shown(text), bytes: payload!.length },
      )
      return 'malformed'
    }
    const { timestamp } = this.#decoder
    if (this.#decoder.rank > MAX_RANK) return 'malformed'
    const tracked = this.#choose(candidates, topic)
    if (typeof tracked === 'string') return tracked
    const rank = tracked.isRank ? tracked.endpoint.rank : this.#decoder.rank
    const publisher = this.#publisher(source, text, topic, tracked, rank)
    if (typeof publisher === 'string') return publisher
    if (!publisher.isWithinRate()) return 'too_many'
    if (publisher.isShared(sequence, timestamp)) return 'shared_topic'
    const message = { topic: text, sequence, payload: payload! }
    const held = this.#recoveries?.hold(publisher, message, timestamp)
    if (held !== undefined) return held
    const missing = this.#recoveries && publisher.missing(sequence, timestamp)
    if (missing !== undefined) {
      this.#recoveries!.start(publisher, missing)
      const waits = this.#recoveries!.hold(publisher, message, timestamp)
      if (waits !== undefined) return waits
    }
    if (!publisher.accept(sequence, timestamp, true)) return 'duplicate'
    this.#decoder.forEach(publisher)
    return 'applied'
  }

  /** Applies a message that was replayed, or that waited for a replay. */
  #apply(
    publisher: PublisherState,
    { topic, sequence, payload }: ReplayedMessage,
    isLive: boolean,
  ): MessageResult {
    const named = topic === undefined ? undefined : this.#parse(topic)
    if (named !== undefined && named.address !== publisher.owner.endpoint.address) {
      return 'address_mismatch'
    }
    if (!this.#decoder.open(payload)) return 'malformed'
    const { hasRank, rank } = this.#decoder
    const { endpoint: tracked } = publisher.owner
    if (tracked.isRank && hasRank && rank !== tracked.endpoint.rank) {
      return this.#wrongRank(tracked, rank)
    }
    if (!publisher.accept(sequence, this.#decoder.timestamp, isLive)) return 'duplicate'
    this.#decoder.forEach(publisher)
    return 'applied'
  }

  /** Makes a publisher for an endpoint that has not sent anything, and asks it for all that it remembers. */
  #seed(tracked: TrackedEndpoint): void {
    if (this.#recoveries === undefined || this.#publishers.has(tracked)) return
    const { rank } = tracked.endpoint
    const owner = this.#claim(tracked, rank, '')
    const publisher = new PublisherState('dialled', '', owner, this.#context)
    this.#publishers.set(tracked, new Map([[seedKey(rank), publisher]]))
    void this.#recoveries.seed(publisher).then((answered) => {
      if (answered) return
      const publishers = this.#publishers.get(tracked)
      if (publishers?.get(seedKey(rank)) !== publisher) return
      publishers.delete(seedKey(rank))
      publisher.close()
      owner.fed = false
    })
  }

  /** Those that wait for an answer and have told nothing are as if they had never been. */
  #stopRecoveries(): void {
    this.#recoveries?.close()
    this.#recoveries = undefined
    for (const [tracked, publishers] of this.#publishers) {
      const key = seedKey(tracked.endpoint.rank)
      const seed = publishers.get(key)
      if (seed === undefined || seed.lastSequence >= 0) continue
      publishers.delete(key)
      this.#drop(seed)
      if (publishers.size === 0) this.#publishers.delete(tracked)
    }
  }

  /** Forgets a publisher whose endpoint stays, with all that it told. */
  #drop(publisher: PublisherState): void {
    publisher.close()
    this.#recoveries?.forget(publisher)
    publisher.owner.clear()
    publisher.owner.fed = false
    const { hostPort } = publisher.owner.endpoint.endpoint
    this.#notices.set(`kv-publishers:${hostPort}:${publisher.owner.rank}`, undefined)
  }

  #parse(text: string): KvTopic | undefined {
    const known = this.#topics.get(text)
    if (known !== undefined || this.#topics.has(text)) return known
    const topic = parseTopic(text)
    if (this.#topics.size >= MAX_KNOWN_TOPICS) this.#topics.clear()
    this.#topics.set(text, topic)
    return topic
  }

  /** The endpoints that a message may be of, or why there are none. */
  #candidates(
    source: EventSource,
    topic: KvTopic | undefined,
    text: string,
  ): readonly TrackedEndpoint[] | MessageResult {
    if (source.kind === 'dialled') {
      const tracked = this.#owners.of(source.endpoint)
      if (tracked === undefined) return 'unknown_endpoint'
      if (topic === undefined || topic.address === tracked.address) return [tracked]
      this.#say(
        `kv-address:${tracked.endpoint.hostPort}`,
        `${tracked.endpoint.hostPort} sends KV events under the topic "${shown(text)}", which names another address: they are dropped; set its topic to kv@${tracked.endpoint.address}@<model>`,
      )
      return 'address_mismatch'
    }
    if (topic === undefined) {
      this.#say(
        'kv-topic',
        `KV events under the topic "${shown(text)}" are dropped; set the topic of --kv-events-config to kv@<pod IP>@<model>`,
      )
      return 'bad_topic'
    }
    const here = this.#owners.at(topic.address)
    const found =
      topic.port === undefined ? here : here.filter((t) => t.endpoint.port === topic.port)
    if (found.length > 0) return found
    this.#warnOnce(
      `kv-unknown:${text}`,
      'KV events of an address that discovery does not know are dropped',
      { topic: shown(text) },
    )
    return 'unknown_endpoint'
  }

  /** The one of them that the opened message is of, or why there is none. */
  #choose(
    candidates: readonly TrackedEndpoint[],
    topic: KvTopic | undefined,
  ): TrackedEndpoint | MessageResult {
    const { rank, hasRank } = this.#decoder
    const [first] = candidates
    if (candidates.length === 1) {
      if (!first!.isRank || !hasRank || first!.endpoint.rank === rank) return first!
      return this.#wrongRank(first!, rank)
    }
    const ofRank = candidates.filter((tracked) => tracked.endpoint.rank === rank)
    if (ofRank.length === 1) return ofRank[0]!
    if (ofRank.length === 0 && candidates.every(({ isRank }) => isRank)) {
      return this.#wrongRank(first!, rank)
    }
    const address = topic!.address
    this.#say(
      `kv-ambiguous:${address}`,
      `${candidates.length} endpoints share the address ${address} and KV events of rank ${rank} do not tell which of them they are of: they are dropped; put the port into the topic: kv@${address.includes(':') ? `[${address}]` : address}:<port>@<model>`,
    )
    return 'ambiguous_address'
  }

  /** An engine has another number of ranks than the configuration says, or sends at the port of another one. */
  #wrongRank({ endpoint }: TrackedEndpoint, rank: number): MessageResult {
    const address = networkAddress(endpoint.hostPort)
    this.#say(
      `kv-rank:${address}`,
      `${address} sends KV events of rank ${rank}, where no endpoint of that rank is expected: they are dropped; set dataParallelSize to the engine's --data-parallel-size, and its events to the same port for all ranks, to which each adds its own`,
    )
    return 'unknown_rank'
  }

  /**
   * True for a server at the endpoint's address that serves another model, such as a second container of its pod: the pool's
   * `/v1/models` lists the model of another publisher and not this one's. Where it was heard first, it is forgotten.
   */
  #isOtherModel(topic: KvTopic, tracked: TrackedEndpoint, rank: number): boolean {
    const publishers = this.#publishers.get(tracked)
    if (publishers === undefined || publishers.size === 0) return false
    const isListed = this.#names.isListed(topic.model)
    for (const [key, publisher] of publishers) {
      const other = this.#parse(publisher.topic)
      if (other === undefined || publisher.owner.rank !== rank || other.model === topic.model) {
        continue
      }
      const otherIsListed = this.#names.isListed(other.model)
      if (otherIsListed === isListed) continue
      const stranger = isListed ? other : topic
      this.#say(
        `kv-model:${tracked.endpoint.hostPort}`,
        `KV events of the model "${shown(stranger.model)}" come from the address of ${tracked.endpoint.hostPort}, which does not serve it: they are dropped; put the port into the topics: kv@<pod IP>:<port>@<model>`,
      )
      if (!isListed) return true
      publishers.delete(key)
      this.#drop(publisher)
    }
    return false
  }

  #publisher(
    source: EventSource,
    text: string,
    topic: KvTopic | undefined,
    tracked: TrackedEndpoint,
    rank: number,
  ): PublisherState | MessageResult {
    const key = `${source.kind} ${rank} ${text}`
    const known = this.#publishers.get(tracked)?.get(key)
    if (known !== undefined) return known
    if (topic !== undefined && this.#isOtherModel(topic, tracked, rank)) return 'other_model'
    let publishers = this.#publishers.get(tracked)
    if (publishers === undefined) {
      publishers = new Map()
      this.#publishers.set(tracked, publishers)
    }
    const seed = publishers.get(seedKey(rank))
    if (seed !== undefined) {
      publishers.delete(seedKey(rank))
      publishers.set(key, seed)
      seed.adopt(source.kind, text)
      if (topic !== undefined) this.#names.sawBase(topic.model)
      return seed
    }
    if (publishers.size >= MAX_PUBLISHERS_PER_ENDPOINT) return 'too_many_publishers'
    const publisher = new PublisherState(
      source.kind,
      text,
      this.#claim(tracked, rank, text),
      this.#context,
    )
    publishers.set(key, publisher)
    if (topic !== undefined) this.#names.sawBase(topic.model)
    this.#logger.info('KV events of a new publisher', {
      endpoint: tracked.endpoint.hostPort,
      rank,
      socket: source.kind,
      topic: shown(text),
    })
    return publisher
  }

  /** The endpoint's cache of that rank. Each publisher has one to itself, so that none can clear another's. */
  #claim(tracked: TrackedEndpoint, rank: number, text: string): Owner {
    const ofRank = tracked.owners.filter((owner) => owner.rank === rank)
    let owner = ofRank.find((candidate) => !candidate.fed)
    if (owner === undefined) {
      owner = this.#owners.add(tracked, rank)
      if (ofRank.length > 0) {
        this.#say(
          `kv-publishers:${tracked.endpoint.hostPort}:${rank}`,
          `${tracked.endpoint.hostPort} rank ${rank} has ${ofRank.length + 1} publishers of KV events, the newest with the topic "${shown(text)}"; one engine has one: check the topics and who may connect`,
        )
      }
    }
    owner.fed = true
    return owner
  }

  #forget(tracked: TrackedEndpoint): void {
    for (const publisher of this.#publishers.get(tracked)?.values() ?? []) {
      publisher.close()
      this.#recoveries?.forget(publisher)
      this.#notices.set(
        `kv-publishers:${tracked.endpoint.hostPort}:${publisher.owner.rank}`,
        undefined,
      )
    }
    this.#publishers.delete(tracked)
    this.heard(tracked)
    this.#notices.set(`kv-address:${tracked.endpoint.hostPort}`, undefined)
    this.#notices.set(`kv-model:${tracked.endpoint.hostPort}`, undefined)
    this.#notices.set(`kv-ambiguous:${tracked.address}`, undefined)
    this.#notices.set(`kv-rank:${networkAddress(tracked.endpoint.hostPort)}`, undefined)
  }

  #hashSamples() {
    const sums = { recognized: 0, unrecognized: 0, unjudged: 0 }
    for (const publishers of this.#publishers.values()) {
      for (const { alignment } of publishers.values()) {
        sums.recognized += alignment.counts.recognized
        sums.unrecognized += alignment.counts.unrecognized
        sums.unjudged += alignment.counts.unjudged
      }
    }
    return Object.entries(sums).map(([result, value]) => ({ labels: { result }, value }))
  }

  #publisherStatus(publisher: PublisherState): PublisherStatus {
    return {
      socket: publisher.socket,
      topic: shown(publisher.topic),
      rank: publisher.owner.rank,
      lastSequence: publisher.lastSequence,
      lastEventAgeMs: this.#clock.nowMs() - publisher.lastEventMs,
      coverage: publisher.coverage,
      gaps: publisher.gaps,
      restarts: publisher.restarts,
      orphans: publisher.orphans,
      blockTokens: publisher.owner.blockTokens,
      blocks: publisher.owner.join.size,
      algorithm: publisher.alignment.aligned?.algorithm,
      hashSeed: publisher.alignment.aligned?.hashSeed,
      hashing: this.#context.check.describe(publisher.alignment, publisher.owner.blockTokens),
      hashes: publisher.alignment.counts,
    }
  }

  #say(key: string, text: string): void {
    this.#notices.set(key, text)
    this.#warnOnce(`${key}:${text}`, text)
  }

  /** Strangers choose topics, so only so many are said one by one. */
  #warnOnce(key: string, message: string, fields?: Readonly<Record<string, unknown>>): void {
    if (!this.#said.has(key)) {
      if (this.#said.size >= MAX_SAID) {
        this.#logger.warnOnce(
          'kv-more',
          'more KV event messages are dropped than are said here; see epp_kv_event_messages_total',
        )
        return
      }
      this.#said.add(key)
    }
    this.#logger.warnOnce(key, message, fields)
  }
}

/** The key of a publisher that is known by its endpoint and rank alone. */
function seedKey(rank: number): string {
  return `seed ${rank}`
}

function readSequence(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8)
  return view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4)
}

/** A topic as it may be shown: what a stranger sends is cut, and its control characters are replaced. */
function shown(topic: string): string {
  const cut = topic.length <= MAX_SHOWN_TOPIC ? topic : `${topic.slice(0, MAX_SHOWN_TOPIC)}…`
  return cut.replaceAll(/[\p{Cc}\u2028\u2029]/gu, '�')
}
