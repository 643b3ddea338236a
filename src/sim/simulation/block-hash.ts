import type { EngineBlockHash, EngineBlockHasher } from '../../framework/services.ts'

const ROOT = { digest: 0x9e3779b97f4a7c15n, published: 0x9e3779b97f4a7c15n }

/**
 * Hashes of blocks for engines that have no other to agree with: as cheap as a chain of 64 bits can be. A picker cannot
 * reproduce them, and need not: the events bring the tokens.
 */
export const quickBlockHasher: EngineBlockHasher = {
  root: ROOT,
  next(parent: EngineBlockHash, tokens: ArrayLike<number>): EngineBlockHash {
    const before = parent.digest as bigint
    let low = Number(before & 0xffffffffn) | 0
    let high = Number(before >> 32n) | 0
    for (let i = 0; i < tokens.length; i++) {
      low = Math.imul(low ^ tokens[i]!, 0x85ebca6b)
      low ^= low >>> 15
      high = Math.imul(high ^ low, 0xc2b2ae35) + i
      high ^= high >>> 13
    }
    const published = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
    return { digest: published, published }
  },
}
