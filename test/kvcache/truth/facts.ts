import type { CacheEvidence } from '../../../src/kvcache/truth/cache-witness.ts'
import type { TruthSample } from '../../../src/kvcache/truth/truth-sample.ts'

/** An answer of 512 tokens in blocks of 16, of which 256 were expected and cached. */
export function sample(fields: Partial<TruthSample> = {}): TruthSample {
  return {
    promptTokens: 512,
    engineTokens: 512,
    toldTokens: 256,
    toldLaterTokens: fields.toldTokens ?? 256,
    removedBlocks: 0,
    cachedTokens: 256,
    blockTokens: 16,
    isSalted: false,
    beginning: 'same',
    ...fields,
  }
}

/** What a publisher shows that tells everything. */
export function evidence(fields: Partial<CacheEvidence> = {}): CacheEvidence {
  return {
    coverage: 'complete',
    lastEventMs: 1000,
    blockTokens: 16,
    gaps: 0,
    epoch: 0,
    restarts: 0,
    orphans: 0,
    removedBlocks: 0,
    unrecognized: 0,
    misfit: undefined,
    forgottenBlocks: 0,
    tellsSalts: true,
    ...fields,
  }
}
