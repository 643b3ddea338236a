import type { TruthReason } from '../../framework/services.ts'
import type { CacheEvidence } from './cache-witness.ts'
import type { TruthSample } from './truth-sample.ts'

/** Answers since the predictions were last right, by what the events told of their prompts. */
export interface Tally {
  answers: number
  /** Their first block was announced as it was asked for. */
  same: number
  /** It was announced under another salt. */
  otherSalt: number
  /** It was announced under another adapter, or none. */
  otherAdapter: number
  /** It was computed and announced, and its tokens are not the picker's. */
  otherTokens: number
  /** Blocks were computed, and events came. */
  heard: number
  /** Blocks were computed, and no event has come since. */
  unheard: number
  /** When the last of these was picked, in the clock's milliseconds. */
  unheardSinceMs: number
}

export function newTally(): Tally {
  return {
    ...{ answers: 0, same: 0, otherSalt: 0, otherAdapter: 0, otherTokens: 0 },
    ...{ heard: 0, unheard: 0, unheardSinceMs: 0 },
  }
}

/** What is known when predictions prove wrong. */
export interface TruthFacts {
  readonly now: CacheEvidence
  /** What the events had shown when the predictions were last right; undefined when they never were. */
  readonly before: CacheEvidence | undefined
  readonly tally: Tally
  /** The last answers that were predicted wrong, at least one. */
  readonly wrong: readonly TruthSample[]
}

/** Why predictions prove wrong, and what to do, in words. */
export interface TruthCause {
  readonly reason: TruthReason
  /** What was seen. */
  readonly seen: string
  readonly remedy: string
}

/** Finds the cause: what is proved comes before what is likely. */
export function causeOf(facts: TruthFacts): TruthCause {
  for (const check of CHECKS) {
    const cause = check(facts)
    if (cause !== undefined) return cause
  }
  return unknown(facts)
}

const CHECKS: readonly ((facts: TruthFacts) => TruthCause | undefined)[] = [
  misfit,
  noEvents,
  otherCounts,
  otherSpace,
  gap,
  otherTokens,
  memory,
  coarse,
  notCached,
  otherHashes,
  untoldSalt,
]

function misfit({ now, before }: TruthFacts): TruthCause | undefined {
  const found = now.misfit
  if (found === undefined || found.count <= (before?.misfit?.count ?? 0)) return undefined
  const { blockTokens, tokensPerHash } = found
  return {
    reason: 'block-size',
    seen: `its events announce blocks of ${blockTokens} tokens and have ${rounded(tokensPerHash)} tokens for each`,
    remedy:
      'give --block-size and the KV connector of the engine one size; its events cannot be read',
  }
}

function noEvents({ now, tally }: TruthFacts): TruthCause | undefined {
  const remedy =
    'check its --kv-events-config (enable_kv_cache_events, endpoint, topic) and what lies between'
  if (now.lastEventMs === Number.NEGATIVE_INFINITY) {
    return { reason: 'no-events', seen: 'it has sent no KV events', remedy }
  }
  // One answer may come before its events; several do not.
  if (tally.unheard === 0 || (tally.unheard === 1 && tally.heard > 0)) return undefined
  return {
    reason: 'no-events',
    seen: `it computed new blocks for ${tally.unheard} requests since its last KV event`,
    remedy,
  }
}

function otherCounts({ wrong }: TruthFacts): TruthCause | undefined {
  const differing = wrong.filter(({ promptTokens, engineTokens }) => promptTokens !== engineTokens)
  const last = differing.at(-1)
  if (last === undefined || differing.length * 2 <= wrong.length) return undefined
  return {
    reason: 'tokenizer',
    seen: `it counted ${last.engineTokens} tokens of a prompt that has ${last.promptTokens} here`,
    remedy:
      "give the picker the engine's own tokenizer and chat template (--tokenizers-dir), or let it ask the engines (token-producer, source: engine)",
  }
}

function otherSpace({ tally }: TruthFacts): TruthCause | undefined {
  const { same, otherSalt, otherAdapter } = tally
  if (Math.max(otherSalt, otherAdapter) <= same) return undefined
  if (otherAdapter > otherSalt) {
    return {
      reason: 'lora',
      seen: 'it keeps the same tokens for another LoRA adapter than the requests name',
      remedy: "compare the model names of the requests with the engine's --lora-modules",
    }
  }
  return {
    reason: 'salt',
    seen: 'it keeps the same tokens under another cache_salt than the requests carry',
    remedy:
      'find what adds, changes or removes cache_salt between the picker and the engine, and do it before the picker',
  }
}

function gap({ now, before }: TruthFacts): TruthCause | undefined {
  const { coverage } = now
  const lost = now.gaps > (before?.gaps ?? 0)
  const orphans = now.orphans - (before?.orphans ?? 0)
  if (coverage === 'complete' && !lost && orphans === 0) return undefined
  const seen =
    coverage === 'late'
      ? 'what it stored before the picker came is not known'
      : lost || coverage !== 'complete'
        ? 'KV events of it were lost, and what they told is not known'
        : `${orphans} stores followed blocks that are not known`
  return {
    reason: 'gap',
    seen,
    remedy:
      'let the engine keep its events (replay_endpoint, and --kv-events-replay here), raise hwm in its --kv-events-config if they are lost often, or clear its cache',
  }
}

function otherTokens({ tally }: TruthFacts): TruthCause | undefined {
  if (tally.otherTokens <= tally.same) return undefined
  return {
    reason: 'tokenizer',
    seen: 'it computed other token ids than the picker has for the same prompts, though as many',
    remedy:
      "give the picker the engine's own tokenizer and chat template (--tokenizers-dir), or let it ask the engines (token-producer, source: engine)",
  }
}

function memory({ now, before, wrong }: TruthFacts): TruthCause | undefined {
  const blocks = now.forgottenBlocks - (before?.forgottenBlocks ?? 0)
  const isShort = wrong.every(({ toldTokens, cachedTokens }) => toldTokens < cachedTokens)
  if (blocks === 0 || !isShort) return undefined
  return {
    reason: 'memory',
    seen: `the prefix index has forgotten ${blocks} blocks for want of memory`,
    remedy: 'raise maxMemoryMiB',
  }
}

/** The engine reuses blocks in larger or other units than its events announce. */
function coarse({ wrong, now }: TruthFacts): TruthCause | undefined {
  const cached = wrong.map(({ cachedTokens }) => cachedTokens)
  const unit = cached.reduce(greatestDivisor, 0)
  const { blockTokens } = now
  if (blockTokens === undefined || unit === 0 || unit === blockTokens) return undefined
  const isOdd = cached.some((tokens) => tokens % blockTokens !== 0)
  const isCut = wrong.every(
    ({ toldTokens, cachedTokens }) => Math.floor(toldTokens / unit) * unit === cachedTokens,
  )
  if (!isOdd && !(isCut && unit > blockTokens && wrong.length > 1)) return undefined
  return {
    reason: 'block-size',
    seen: `its events announce blocks of ${blockTokens} tokens and it reuses them in units of ${unit}`,
    remedy:
      'give --block-size and the KV connector of the engine one size, and tokenProcessorConfig.blockSize the same',
  }
}

function notCached({ wrong }: TruthFacts): TruthCause | undefined {
  if (wrong.some(({ cachedTokens }) => cachedTokens > 0)) return undefined
  return {
    reason: 'not-cached',
    seen: 'it announces blocks and says that it takes none from its cache',
    remedy:
      'check that prefix caching is on (--enable-prefix-caching), and that nothing between answers for the engine',
  }
}

function otherHashes({ now, before }: TruthFacts): TruthCause | undefined {
  const blocks = now.unrecognized - (before?.unrecognized ?? 0)
  if (blocks === 0) return undefined
  return {
    reason: 'hash',
    seen: `the hashes of ${blocks} blocks are not what their tokens give`,
    remedy:
      'compare --prefix-caching-hash-algo and PYTHONHASHSEED of the engines, and look for an engine that is not vLLM',
  }
}

function untoldSalt({ now, wrong }: TruthFacts): TruthCause | undefined {
  const salted = wrong.filter(({ isSalted }) => isSalted).length
  if (now.tellsSalts || salted * 2 <= wrong.length) return undefined
  return {
    reason: 'salt',
    seen: 'the requests carry a cache_salt, and its events do not tell salts',
    remedy: 'update the engine: the events of vLLM 0.18 and later tell them',
  }
}

function unknown({ wrong, tally, now }: TruthFacts): TruthCause {
  const shown = wrong
    .slice(-3)
    .map(
      ({ toldTokens, cachedTokens, engineTokens }) =>
        `${toldTokens} told and ${cachedTokens} cached of ${engineTokens}`,
    )
  return {
    reason: 'unknown',
    seen: `no cause is proved (tokens: ${shown.join('; ')}; blocks of ${now.blockTokens ?? '?'}; ${tally.same} of ${tally.answers} first blocks announced)`,
    remedy:
      'see /endpoints and epp_kv_events_skipped_total; an engine that evicts much while requests wait does this too',
  }
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b)
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10
}
