import type { Limits } from '../../framework/limits.ts'
import type { Clock, Logger, Notices } from '../../framework/services.ts'
import type { AdapterNames } from '../adapter-names.ts'
import type { ChainHasher } from '../hashing/chain-hash.ts'
import { HashAlignment } from '../hashing/hash-alignment.ts'
import type { HashingCheck } from '../hashing/hashing-check.ts'
import type { IndexEviction } from '../index-eviction.ts'
import { CPU, DISK, GPU, type SegmentIndex } from '../segments/segment-index.ts'
import type { Owner } from '../tracked-owners.ts'
import { ChainBeginnings } from './chain-beginnings.ts'
import type { EventDecoder, EventSink } from './event-decoder.ts'
import { adapterOf, EventHashes } from './event-hashes.ts'
import type { IntakeMetrics } from './intake-metrics.ts'
import { MessageRate } from './message-rate.ts'
import { TopicSharing } from './topic-sharing.ts'

/**
 * Whether all that an engine told of its cache has been heard: `late` when its first messages were missed, `gap` when
 * later ones were, `replaying` while it sends missed ones again, `none` when it has not told anything.
 */
export type Coverage = 'complete' | 'late' | 'gap' | 'replaying' | 'none'

/** What publishers share. */
export interface PublisherContext {
  readonly index: SegmentIndex
  readonly eviction: IndexEviction
  readonly hasher: ChainHasher
  readonly names: AdapterNames
  readonly check: HashingCheck
  readonly metrics: IntakeMetrics
  readonly clock: Clock
  readonly logger: Logger
  readonly notices: Notices
  readonly limits: Pick<Limits, 'maxEventsPerSecond'>
}

/** Stores that do not say what they are of. */
export interface BlockMisfit {
  readonly count: number
  /** As the last one of them says. */
  readonly blockTokens: number
  /** As it has for each of its hashes; whole only where all blocks are alike. */
  readonly tokensPerHash: number
}

const INDEXED_KINDS: ReadonlySet<string> = new Set([
  'full_attention',
  'mla_attention',
  'sink_full_attention',
])
const PLANE_OF_MEDIUM: ReadonlyMap<string, number> = new Map([
  ['gpu', GPU],
  ['cpu', CPU],
  ['cpu_pinned', CPU],
  ['disk', DISK],
  ['storage', DISK],
])
const MAX_BLOCK_TOKENS = 1 << 16
const MAX_GROUPS = 256

/**
 * One stream of events: what comes under one topic for one rank on one socket. Watches its sequence and applies its
 * events to one owner.
 */
export class PublisherState implements EventSink {
  socket: 'bound' | 'dialled'
  topic: string
  readonly owner: Owner
  readonly #rate: MessageRate
  /** True while missed messages are asked for. */
  replaying = false
  readonly #context: PublisherContext
  readonly #alignment: HashAlignment
  readonly #skippedGroups = new Set<number>()
  readonly #sharing: TopicSharing
  #isShared = false
  #lastSequence = -1
  /** Of the messages that came by themselves, not on request. */
  #lastLiveSequence = -1
  #lastTimestamp = 0
  #lastEventMs: number
  #coverage: Coverage = 'none'
  #coverageText: string | undefined
  #gaps = 0
  #restarts = 0
  #orphans = 0
  #removedBlocks = 0
  #misfit: BlockMisfit | undefined
  #closed = false
  #keys = new Int32Array(512)
  /** The first blocks of the chains that it stored last. */
  readonly beginnings: ChainBeginnings
  // Room for what the callback on extras finds.
  #salt: string | undefined
  #extraEnds: number[] = []

  constructor(socket: 'bound' | 'dialled', topic: string, owner: Owner, context: PublisherContext) {
    this.socket = socket
    this.topic = topic
    this.owner = owner
    this.#context = context
    this.#alignment = new HashAlignment(context.check.candidates)
    owner.alignment = this.#alignment
    this.#sharing = new TopicSharing(context.clock)
    this.#rate = new MessageRate(context.limits.maxEventsPerSecond, context.clock)
    this.#lastEventMs = context.clock.nowMs()
    this.beginnings = new ChainBeginnings(context.hasher)
  }

  get lastSequence(): number {
    return this.#lastSequence
  }
  get lastEventMs(): number {
    return this.#lastEventMs
  }
  get coverage(): Coverage {
    return this.replaying ? 'replaying' : this.#coverage
  }
  /** True when its endpoint has gone. */
  get isClosed(): boolean {
    return this.#closed
  }
  get gaps(): number {
    return this.#gaps
  }
  get restarts(): number {
    return this.#restarts
  }
  /** Blocks that it has told to be gone from its cache. */
  get removedBlocks(): number {
    return this.#removedBlocks
  }
  /** Stores dropped because their parent was not known. */
  get orphans(): number {
    return this.#orphans
  }
  /** The last store whose tokens are not as many as its blocks hold; undefined without any. */
  get misfit(): BlockMisfit | undefined {
    return this.#misfit
  }
  /** What is known of its hashing. */
  get alignment(): HashAlignment {
    return this.#alignment
  }

  /** Gives it the topic and socket of its first live message, where it was known by its endpoint alone. */
  adopt(socket: 'bound' | 'dialled', topic: string): void {
    this.#context.notices.set(this.#noticeKey, undefined)
    this.socket = socket
    this.topic = topic
    this.#setCoverage(this.#coverage, this.#coverageText)
  }

  /** True for the message that was applied last, and for no other that has its number. */
  isLast(sequence: number, timestamp: number): boolean {
    return sequence === this.#lastSequence && timestamp === this.#lastTimestamp
  }

  /** The engine is another one than before: nothing is known of it. */
  restarted(): void {
    this.#sayRestart(undefined)
    this.#alignment.reset()
    this.#forget()
    this.#setCoverage('none', undefined)
  }

  /** An engine that was asked for everything did not tell all; nothing happens where it told nothing. */
  brokeOff(reason: string): void {
    if (this.#lastSequence < 0) return
    const text = `its answer broke off after sequence ${this.#lastSequence} (${reason}): what it holds is not known`
    this.#forget()
    this.#setCoverage('gap', text)
  }

  /** Its messages do not arrive any more, though there are some. */
  fellSilent(what: string): void {
    this.#forget()
    this.#setCoverage('gap', `${what}: what it holds is not known`)
  }

  /** Counts a live message; false when it is one too many, of which the first clears what the owner holds. */
  isWithinRate(): boolean {
    const rate = this.#rate.take()
    if (rate === 'over') {
      const most = this.#context.limits.maxEventsPerSecond
      this.fellSilent(
        `more than ${most} KV event messages in a second, of which the rest is dropped (--max-events-per-second)`,
      )
    }
    return rate === 'within'
  }

  /** Takes note of a live message's number; true while two engines send under its topic, of which neither is believed. */
  isShared(sequence: number, timestamp: number): boolean {
    const wasShared = this.#isShared
    this.#isShared = this.#sharing.see(sequence, timestamp)
    if (this.#isShared && !wasShared) {
      this.#forget()
      const text = `two engines send KV events under the topic "${this.topic}": neither is believed; give each its own address or port in the topic`
      this.#setCoverage('gap', text)
      this.#context.logger.warnOnce(`${this.#noticeKey}:shared`, text, this.#fields())
    }
    return this.#isShared
  }

  /** An engine that was asked for everything and had nothing holds nothing: that is all there is to know. */
  sentNothingBefore(): void {
    if (this.#lastSequence < 0) this.#setCoverage('complete', undefined)
  }

  /** The first sequence number that is missing when a live message with this one comes; undefined when none is. */
  missing(sequence: number, timestamp: number): number | undefined {
    const last = this.#lastSequence
    if (last < 0 || this.#isRestart(sequence, timestamp, true)) {
      return sequence > 0 ? 0 : undefined
    }
    return sequence > last + 1 ? last + 1 : undefined
  }

  /**
   * Takes note of a message's number; false when it is a duplicate. A publisher that began anew, or a number left out,
   * clears the owner, since what it holds is no longer known.
   *
   * @param timestamp the engine's time of the message, in seconds
   * @param isLive false for a message that was asked for
   */
  accept(sequence: number, timestamp: number, isLive: boolean): boolean {
    const last = this.#lastSequence
    const restarted = this.#isRestart(sequence, timestamp, isLive)
    if (isLive) this.#lastLiveSequence = sequence
    if (sequence <= last && !restarted) return false
    this.#lastSequence = sequence
    this.#lastTimestamp = timestamp
    this.#lastEventMs = this.#context.clock.nowMs()
    if (last < 0) this.#started(sequence)
    else if (restarted) {
      this.#sayRestart(sequence, last)
      this.#alignment.reset()
      this.owner.clear()
      this.#started(sequence)
    } else if (sequence > last + 1) {
      this.#gaps++
      this.#context.metrics.gap(sequence - last - 1)
      this.#context.logger.warn(
        'KV events lost; what the endpoint holds is unknown until it restarts or clears its cache',
        {
          ...this.#fields(),
          expectedSequence: last + 1,
          sequence,
          lost: sequence - last - 1,
        },
      )
      this.owner.clear()
      this.#setCoverage(
        'gap',
        `${sequence - last - 1} KV events lost (expected sequence ${last + 1}, got ${sequence}): what it held before is forgotten and is known again only after the engine restarts or clears its cache; raise hwm in its --kv-events-config if this goes on`,
      )
    }
    return true
  }

  /** Takes its notice away. */
  close(): void {
    this.#closed = true
    this.#context.notices.set(this.#noticeKey, undefined)
  }

  stored(event: EventDecoder): void {
    const { metrics, check } = this.#context
    if (event.specKind !== undefined && !INDEXED_KINDS.has(event.specKind)) {
      if (event.group !== undefined && this.#skippedGroups.size < MAX_GROUPS) {
        this.#skippedGroups.add(event.group)
      }
      metrics.skipped('unsupported_cache_kind')
      return
    }
    const plane = this.#planeOf(event)
    if (plane === undefined) return
    this.#context.eviction.makeRoom(event.hashCount)
    if (event.tokenCount === 0) {
      this.#storedKnown(event, plane)
      return
    }
    const { blockTokens, hashCount } = event
    if (blockTokens < 1 || blockTokens > MAX_BLOCK_TOKENS) {
      metrics.skipped('invalid_block_size')
      return
    }
    if (event.tokenCount !== hashCount * blockTokens) {
      metrics.skipped('non_dense_block_span')
      this.#misfit = {
        count: (this.#misfit?.count ?? 0) + 1,
        blockTokens,
        tokensPerHash: event.tokenCount / hashCount,
      }
      return
    }
    this.owner.blockTokens = blockTokens
    check.sawBlockTokens(this.owner.endpoint, blockTokens)
    if (event.loraName !== undefined) this.#context.names.sawAdapter(event.loraName)
    const isReproduced = this.#checkHashes(event)
    if (this.#isBehindForgotten(event)) {
      this.owner.join.forget(hashCount)
      metrics.skipped('forgotten_parent')
      return
    }
    const isBeginning = !event.hasParent
    if (!this.#setParent(event, isReproduced)) {
      this.#orphans++
      metrics.skipped('unknown_parent')
      return
    }
    const { hasher } = this.#context
    const parentLo = event.hasParent ? hasher.lo : 0
    const parentHi = event.hasParent ? hasher.hi : 0
    this.#computeKeys(event)
    if (isBeginning) this.#noteBeginning(event)
    this.#enter(event, plane, parentLo, parentHi)
  }

  removed(event: EventDecoder): void {
    const { metrics } = this.#context
    if (event.group !== undefined && this.#skippedGroups.has(event.group)) {
      metrics.skipped('unsupported_cache_kind')
      return
    }
    const plane = this.#planeOf(event)
    if (plane === undefined) return
    const { join } = this.owner
    const removed = join.removeAll(plane, event.hashes, event.hashCount)
    this.#removedBlocks += removed
    if (removed > 0) metrics.removed(removed)
    if (removed < event.hashCount) metrics.skipped('unknown_block', event.hashCount - removed)
  }

  cleared(): void {
    this.owner.clear()
    this.#context.metrics.cleared()
    // An empty cache is fully known.
    this.#setCoverage('complete', undefined)
  }

  malformed(): void {
    this.#context.metrics.skipped('malformed_event')
    this.#context.logger.warnOnce(
      `kv-malformed:${this.#noticeKey}`,
      'KV event with fields of the wrong type skipped',
      this.#fields(),
    )
  }

  /** The plane that the event is about; undefined, and counted, when it is not about this engine's own cache. */
  #planeOf(event: EventDecoder): number | undefined {
    if (event.owned || (event.locality !== undefined && event.locality !== 'LOCAL')) {
      this.#context.metrics.skipped('not_local')
      return undefined
    }
    const plane = PLANE_OF_MEDIUM.get(event.medium ?? 'gpu')
    if (plane === undefined) this.#context.metrics.skipped('unknown_medium')
    return plane
  }

  /** True when the event's parent was forgotten for want of memory: blocks that no lookup reaches need not be kept. */
  #isBehindForgotten(event: EventDecoder): boolean {
    if (!event.hasParent || this.#context.index.eviction.evicted === 0) return false
    const { join } = this.owner
    return !join.get(event.parentLo, event.parentHi) && join.forgotten > 0
  }

  /** A store without tokens: blocks that are known from elsewhere are now in this medium too. */
  #storedKnown(event: EventDecoder, plane: number): void {
    const { metrics } = this.#context
    const { join } = this.owner
    let stored = 0
    for (let i = 0; i < event.hashCount; i++) {
      if (join.storeKnown(plane, event.hashes[2 * i]!, event.hashes[2 * i + 1]!)) stored++
    }
    if (stored > 0) metrics.stored(stored)
    if (stored < event.hashCount) metrics.skipped('unknown_block', event.hashCount - stored)
  }

  /** Whether the first block's hash is reproduced; undefined when that cannot be told. */
  #checkHashes(event: EventDecoder): boolean | undefined {
    const alignment = this.#alignment
    const { aligned, gaveUp } = alignment
    // llm-d-inference-sim writes parent 0 for none.
    const isNone = (event.parentLo | event.parentHi) === 0 && !this.owner.join.get(0, 0)
    if (isNone) event.hasParent = false
    const isReproduced = alignment.check(new EventHashes(event, !event.hasParent))
    if (alignment.aligned !== aligned || alignment.gaveUp !== gaveUp) {
      this.#context.check.sawHashing(this.owner.endpoint, alignment.aligned)
    }
    return isReproduced
  }

  /**
   * Puts the key before the event's first block into the hasher; false when the parent is not known.
   *
   * @param isReproduced whether the first block's hash is what its tokens give; undefined when that cannot be told
   */
  #setParent(event: EventDecoder, isReproduced: boolean | undefined): boolean {
    const { hasher, metrics } = this.#context
    const { join } = this.owner
    this.#salt = undefined
    if (event.hasParent) {
      if (join.get(event.parentLo, event.parentHi)) {
        hasher.lo = join.keyLo
        hasher.hi = join.keyHi
        return true
      }
      if (this.#alignment.aligned === undefined || event.hashCount === 0) return false
      this.#anchor(event, 'anywhere')
      metrics.anchored(event.hashCount)
      return true
    }
    const adapter = adapterOf(event)
    let extras = 0
    let last: string | undefined
    event.extrasOf(0, (text) => {
      if (extras++ === 0 && text !== undefined && text === event.loraName) return
      last = text
    })
    this.#salt = last
    // Events that tell no extras do not tell the salt either.
    if (!event.hasExtraKeys && isReproduced === false) this.#anchor(event, 'root')
    else hasher.root(event.blockTokens, adapter, this.#salt)
    return true
  }

  /** A beginning that only a request finds whose own blocks have the engine's hashes. */
  #anchor(event: EventDecoder, where: 'root' | 'anywhere'): void {
    this.#context.hasher.privateRoot(event.blockTokens, event.hashes[0]!, event.hashes[1]!)
    this.owner.anchor(where)
    event.hasParent = false
  }

  #computeKeys(event: EventDecoder): void {
    const { hasher } = this.#context
    const { hashCount, blockTokens, tokens, bytes } = event
    if (this.#keys.length < hashCount * 2) this.#keys = new Int32Array(hashCount * 2)
    if (!event.hasExtras()) {
      hasher.extend(tokens, 0, hashCount, blockTokens, this.#keys, 0)
      return
    }
    const ends = this.#extraEnds
    for (let i = 0; i < hashCount; i++) {
      ends.length = 0
      let seen = 0
      event.extrasOf(i, (text, start, end) => {
        if (seen++ === 0 && text !== undefined && text === event.loraName) return
        ends.push(start, end)
      })
      // The last of the first block is the salt if it is a text, and is in the root.
      if (i === 0 && this.#salt !== undefined) ends.length -= 2
      for (let e = 0; e < ends.length; e += 2) hasher.mixExtra(bytes, ends[e]!, ends[e + 1]!)
      hasher.extend(tokens, i * blockTokens, 1, blockTokens, this.#keys, i)
    }
  }

  #noteBeginning(event: EventDecoder): void {
    this.beginnings.saw(event.tokens, event.blockTokens, this.#keys[0]!, this.#keys[1]!, {
      salted: this.#salt !== undefined,
      adapter: adapterOf(event) !== undefined,
    })
  }

  /** Stores the blocks whose keys are in `#keys`, and joins their hashes. */
  #enter(event: EventDecoder, plane: number, parentLo: number, parentHi: number): void {
    const { metrics, eviction } = this.#context
    const { entered, conflicts, full } = this.owner.join.store(
      plane,
      event.hashes,
      this.#keys,
      event.hashCount,
      parentLo,
      parentHi,
    )
    if (entered > 0) metrics.stored(entered)
    if (conflicts > 0) metrics.skipped('hash_conflict', conflicts)
    if (full === 0) return
    metrics.skipped('index_full', full)
    eviction.overflowed()
  }

  /**
   * A live message with a lower number than the live one before it is of a publisher that began anew. A number that was
   * replayed may come live as well: then the engine's time tells.
   */
  #isRestart(sequence: number, timestamp: number, isLive: boolean): boolean {
    const last = this.#lastSequence
    if (last < 0 || sequence > last) return false
    if (isLive && sequence < this.#lastLiveSequence) return true
    if (isLive && sequence === last && last === this.#lastLiveSequence) {
      return timestamp !== this.#lastTimestamp
    }
    return timestamp > this.#lastTimestamp
  }

  /** As if it had never told anything. */
  #forget(): void {
    this.owner.clear()
    this.#lastSequence = -1
    this.#lastLiveSequence = -1
  }

  #sayRestart(sequence: number | undefined, lastSequence = this.#lastSequence): void {
    this.#restarts++
    this.#context.metrics.restart()
    const fields = { ...this.#fields(), lastSequence, sequence }
    this.#context.logger.info('KV event publisher restarted', fields)
  }

  #started(sequence: number): void {
    if (sequence === 0) this.#setCoverage('complete', undefined)
    else {
      this.#setCoverage(
        'late',
        `KV events joined at sequence ${sequence}: what it stored before is not known until it restarts or clears its cache`,
      )
    }
  }

  #setCoverage(coverage: Coverage, text: string | undefined): void {
    if (coverage === 'late' && this.#coverage !== 'late') {
      this.#context.logger.warn(
        'KV events joined late; what the endpoint stored before is unknown',
        {
          ...this.#fields(),
          sequence: this.#lastSequence,
        },
      )
    }
    this.#coverage = coverage
    this.#coverageText = text
    const { hostPort } = this.owner.endpoint.endpoint
    this.#context.notices.set(
      this.#noticeKey,
      text === undefined ? undefined : `${hostPort} rank ${this.owner.rank}: ${text}`,
    )
  }

  get #noticeKey(): string {
    return `kv-coverage:${this.owner.endpoint.endpoint.hostPort}:${this.owner.rank}:${this.topic}`
  }

  #fields(): Record<string, unknown> {
    return {
      endpoint: this.owner.endpoint.endpoint.hostPort,
      rank: this.owner.rank,
      topic: this.topic,
    }
  }
}
