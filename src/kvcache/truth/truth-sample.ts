import type { TruthOptions } from '../../framework/services.ts'
import type { Beginning } from '../events/chain-beginnings.ts'

/** One answer beside what the events had told at its pick; sizes alone. */
export interface TruthSample {
  /** Tokens of the prompt as counted here. */
  readonly promptTokens: number
  /** The same as the engine counted them. */
  readonly engineTokens: number
  /** Tokens that the events told to be cached, at the pick. */
  readonly toldTokens: number
  /** The same when the answer had ended: what was under way at the pick has been told by then. */
  readonly toldLaterTokens: number
  /** Blocks that left its cache between the pick and the end. */
  readonly removedBlocks: number
  /** Tokens that the engine took from its cache. */
  readonly cachedTokens: number
  readonly blockTokens: number
  readonly isSalted: boolean
  /** Whether the prompt's first block is among those announced. */
  readonly beginning: Beginning
}

/** `silent` for an answer that could not have told right from wrong. */
export type Verdict = 'right' | 'wrong' | 'silent'

/**
 * Judges one answer. It may differ by a block (an engine computes the last one of a whole prompt anew) or by the share of
 * the prompt that is tolerated. Little or nothing cached, as expected, tells nothing; nor does what was computed, or may
 * have been evicted, between the pick and the run, which the events have told meanwhile.
 */
export function judge(sample: TruthSample, { tolerance, minTokens }: TruthOptions): Verdict {
  const { engineTokens, toldTokens, cachedTokens, blockTokens } = sample
  const allowed = Math.max(blockTokens, tolerance * engineTokens)
  if (engineTokens < minTokens || Math.max(toldTokens, cachedTokens) <= allowed) return 'silent'
  if (Math.abs(toldTokens - cachedTokens) <= allowed) return 'right'
  const cameMeanwhile =
    toldTokens < cachedTokens && sample.toldLaterTokens >= cachedTokens - allowed
  const missingBlocks = (toldTokens - cachedTokens) / blockTokens
  const wentMeanwhile = missingBlocks > 0 && sample.removedBlocks >= missingBlocks
  return cameMeanwhile || wentMeanwhile ? 'silent' : 'wrong'
}
