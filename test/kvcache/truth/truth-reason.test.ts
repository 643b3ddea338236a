import assert from 'node:assert/strict'
import type { TruthReason } from '../../../src/framework/services.ts'
import type { CacheEvidence } from '../../../src/kvcache/truth/cache-witness.ts'
import { causeOf, newTally, type Tally } from '../../../src/kvcache/truth/truth-reason.ts'
import type { TruthSample } from '../../../src/kvcache/truth/truth-sample.ts'
import { evidence, sample } from './facts.ts'

interface Row {
  readonly what: string
  readonly reason: TruthReason
  readonly seen: RegExp
  readonly now?: Partial<CacheEvidence>
  readonly before?: Partial<CacheEvidence>
  readonly tally?: Partial<Tally>
  readonly wrong?: readonly Partial<TruthSample>[]
}

const MISFIT = { count: 3, blockTokens: 64, tokensPerHash: 16 }

const ROWS: readonly Row[] = [
  {
    what: 'stores whose tokens are not as many as their blocks',
    reason: 'block-size',
    seen: /blocks of 64 tokens and have 16 tokens/,
    now: { misfit: MISFIT },
  },
  {
    what: 'none of these lately',
    reason: 'unknown',
    seen: /no cause is proved/,
    now: { misfit: MISFIT },
    before: { misfit: MISFIT },
  },
  {
    what: 'cached tokens that are no whole blocks',
    reason: 'block-size',
    seen: /blocks of 64 tokens and it reuses them in units of 16/,
    now: { blockTokens: 64 },
    wrong: [{ cachedTokens: 48 }, { cachedTokens: 80 }],
  },
  {
    what: 'cached tokens that are cut to larger units',
    reason: 'block-size',
    seen: /blocks of 16 tokens and it reuses them in units of 128/,
    wrong: [
      { toldTokens: 240, cachedTokens: 128 },
      { toldTokens: 496, cachedTokens: 384 },
    ],
  },
  {
    what: 'no event ever',
    reason: 'no-events',
    seen: /has sent no KV events/,
    now: { coverage: 'none', lastEventMs: Number.NEGATIVE_INFINITY },
  },
  {
    what: 'no event of several answers',
    reason: 'no-events',
    seen: /for 2 requests since its last KV event/,
    tally: { heard: 9, unheard: 2 },
  },
  {
    what: 'no event of the newest answer, but of others',
    reason: 'unknown',
    seen: /no cause is proved/,
    tally: { heard: 9, unheard: 1 },
  },
  {
    what: 'messages that were lost',
    reason: 'gap',
    seen: /KV events of it were lost/,
    now: { gaps: 2 },
    before: { gaps: 1 },
  },
  {
    what: 'a publisher joined late',
    reason: 'gap',
    seen: /before the picker came/,
    now: { coverage: 'late' },
  },
  {
    what: 'stores after unknown ones',
    reason: 'gap',
    seen: /4 stores followed blocks/,
    now: { orphans: 4 },
  },
  {
    what: 'other numbers of tokens',
    reason: 'tokenizer',
    seen: /counted 530 tokens of a prompt that has 512 here/,
    wrong: [{ engineTokens: 530 }, { engineTokens: 530 }, {}],
  },
  {
    what: 'other numbers of tokens in the lesser part',
    reason: 'unknown',
    seen: /no cause is proved/,
    wrong: [{ engineTokens: 530 }, {}],
  },
  {
    what: 'as many tokens, of which none is announced',
    reason: 'tokenizer',
    seen: /other token ids .* as many/,
    tally: { otherTokens: 3, same: 2 },
  },
  {
    what: 'the same tokens under another salt',
    reason: 'salt',
    seen: /another cache_salt/,
    tally: { otherSalt: 3, same: 2 },
  },
  {
    what: 'salts that old events do not tell',
    reason: 'salt',
    seen: /its events do not tell salts/,
    now: { tellsSalts: false },
    wrong: [{ isSalted: true }],
  },
  {
    what: 'the same tokens for another adapter',
    reason: 'lora',
    seen: /another LoRA adapter/,
    tally: { otherAdapter: 3, otherSalt: 1 },
  },
  {
    what: 'hashes that are not reproduced',
    reason: 'hash',
    seen: /hashes of 7 blocks/,
    now: { unrecognized: 9 },
    before: { unrecognized: 2 },
  },
  {
    what: 'an engine that takes nothing from its cache',
    reason: 'not-cached',
    seen: /takes none from its cache/,
    wrong: [{ cachedTokens: 0 }, { cachedTokens: 0 }],
  },
  {
    what: 'blocks that the index had no room for',
    reason: 'memory',
    seen: /forgotten 12 blocks/,
    now: { forgottenBlocks: 12 },
  },
  { what: 'nothing else', reason: 'unknown', seen: /0 told and 256 cached of 512; 0 told/ },
]

describe('causeOf', () => {
  for (const { what, reason, seen, now, before, tally, wrong } of ROWS) {
    it(`${what}: ${reason}`, () => {
      const answers = wrong ?? [{}, {}]
      const cause = causeOf({
        now: evidence(now),
        before: before && evidence(before),
        tally: { ...newTally(), ...tally },
        wrong: answers.map((fields) => sample({ toldTokens: 0, ...fields })),
      })
      assert.equal(cause.reason, reason, cause.seen)
      assert.match(cause.seen, seen)
      assert.ok(cause.remedy.length > 10)
    })
  }

  it('believes a proof before what is likely: lost events explain what was not announced', () => {
    const facts = {
      before: undefined,
      wrong: [sample({ toldTokens: 0 })],
      tally: { ...newTally(), otherTokens: 5 },
    }
    assert.equal(causeOf({ ...facts, now: evidence({ coverage: 'gap' }) }).reason, 'gap')
    assert.equal(causeOf({ ...facts, now: evidence() }).reason, 'tokenizer')
  })
})
