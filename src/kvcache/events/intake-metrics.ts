import type { Counter, Metrics } from '../../framework/services.ts'

/** What became of a message. */
export type MessageResult =
  | 'applied'
  /** Waits for messages before it that are asked for again. */
  | 'held'
  /** Lost: too many wait already. */
  | 'overflow'
  | 'duplicate'
  | 'bad_frames'
  | 'bad_topic'
  | 'unknown_endpoint'
  | 'ambiguous_address'
  /** Of a rank that no endpoint behind the engine's port has. */
  | 'unknown_rank'
  | 'address_mismatch'
  | 'too_many_publishers'
  /** More bytes than a message may have. */
  | 'too_large'
  /** More messages than a publisher may send in a second. */
  | 'too_many'
  /** Of a model that the endpoint does not serve. */
  | 'other_model'
  /** Two engines send under the topic. */
  | 'shared_topic'
  | 'malformed'

/** Why an event, or a part of it, was not applied. */
export type SkipReason =
  | 'unsupported_cache_kind'
  | 'non_dense_block_span'
  | 'invalid_block_size'
  | 'not_local'
  | 'unknown_medium'
  | 'unknown_parent'
  /** The parent was forgotten for want of memory. */
  | 'forgotten_parent'
  | 'unknown_block'
  | 'hash_conflict'
  | 'index_full'
  | 'malformed_event'

/** Counters of the event intake, made when first used, and the sums that the beat tells. */
export class IntakeMetrics {
  readonly #metrics: Metrics
  readonly #bound = new Map<string, Counter>()
  // Those that every message counts in.
  readonly #messages = new Map<MessageResult, Counter>()
  #stored: Counter | undefined
  /** Blocks added and taken away by events since the start. */
  admissions = 0
  evictions = 0

  constructor(metrics: Metrics) {
    this.#metrics = metrics
  }

  message(result: MessageResult): void {
    let counter = this.#messages.get(result)
    if (counter === undefined) {
      const help = 'KV event messages by what became of them.'
      counter = this.#metrics.counter('epp_kv_event_messages_total', help, { result })
      this.#messages.set(result, counter)
    }
    counter.inc()
  }

  skipped(reason: SkipReason, count = 1): void {
    this.#counter(
      'epp_kv_events_skipped_total',
      'KV events, or blocks of them, that were not applied, by reason.',
      { reason },
    ).inc(count)
  }

  stored(blocks: number): void {
    this.admissions += blocks
    this.#stored ??= this.#metrics.counter(
      'epp_kv_blocks_stored_total',
      'Blocks that engines announced as stored.',
    )
    this.#stored.inc(blocks)
  }

  removed(blocks: number): void {
    this.evictions += blocks
    this.#counter('epp_kv_blocks_removed_total', 'Blocks that engines announced as removed.').inc(
      blocks,
    )
  }

  /** Blocks after one that is not known, placed by the engine's hashes. */
  anchored(blocks: number): void {
    this.#counter(
      'epp_kv_blocks_anchored_total',
      'Blocks stored after one that is not known, found by the hashes of the engine.',
    ).inc(blocks)
  }

  gap(lost: number): void {
    this.#counter('epp_kv_event_gaps_total', 'Gaps seen in the sequences of publishers.').inc()
    this.#counter('epp_kv_event_messages_lost_total', 'Messages missing in those gaps.').inc(lost)
  }

  replay(result: 'ok' | 'failed', messages: number): void {
    this.#counter(
      'epp_kv_event_replays_total',
      'Requests to engines for messages that were missed, by result.',
      { result },
    ).inc()
    this.#counter('epp_kv_event_messages_replayed_total', 'Messages that engines sent again.').inc(
      messages,
    )
  }

  restart(): void {
    this.#counter('epp_kv_publisher_restarts_total', 'Publishers seen to start anew.').inc()
  }

  silence(): void {
    this.#counter(
      'epp_kv_publisher_silences_total',
      'Engines seen to fill blocks while no events came.',
    ).inc()
  }

  cleared(): void {
    this.#counter('epp_kv_caches_cleared_total', 'Caches that engines announced as cleared.').inc()
  }

  #counter(name: string, help: string, labels: Readonly<Record<string, string>> = {}): Counter {
    const key = `${name} ${Object.values(labels).join(' ')}`
    let counter = this.#bound.get(key)
    if (counter === undefined) {
      counter = this.#metrics.counter(name, help, labels)
      this.#bound.set(key, counter)
    }
    return counter
  }
}
