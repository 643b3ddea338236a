import assert from 'node:assert/strict'
import { truncated } from '../../src/tokenize/truncate.ts'

const IDS = Int32Array.of(100, 1, 2, 3, 4, 200)
const SPECIAL = { before: 1, after: 1 }

describe('truncated', () => {
  const cut = (truncateTokens: number, truncationSide?: 'left' | 'right', context?: number) => {
    const options = {
      addSpecialTokens: true,
      truncateTokens,
      truncationSide,
      unfollowed: undefined,
    }
    const { ids, doubt } = truncated(IDS, SPECIAL, options, context)
    return doubt === undefined ? [...ids] : doubt.code
  }

  for (const [name, keep, side, context, ids] of [
    ['keeps special tokens where no side is named', 4, undefined, undefined, [100, 3, 4, 200]],
    ['keeps one token between them', 3, undefined, undefined, [100, 4, 200]],
    ['does not know what is left of less', 2, undefined, undefined, 'truncation'],
    ['counts them like others at the left', 2, 'left', undefined, [4, 200]],
    ['and at the right', 2, 'right', undefined, [100, 1]],
    ['leaves what fits', 6, undefined, undefined, [...IDS]],
    ['leaves what the model takes', -1, undefined, 7, [...IDS]],
    ['does not know whether room for an answer is kept', -1, undefined, 6, 'truncation'],
    ['does not know what an unknown model takes', -1, undefined, undefined, 'truncation'],
    ['cuts to no half tokens', 1.5, undefined, undefined, 'truncation'],
  ] as const) {
    it(name, () => assert.deepEqual(cut(keep, side, context), ids))
  }
})
