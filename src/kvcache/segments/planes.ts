/**
 * Where an owner holds a block, as small numbers that index arrays. `SPECULATIVE` is not a medium: it holds what a
 * request just routed is about to bring.
 */
export const GPU = 0
export const CPU = 1
export const DISK = 2
export const SPECULATIVE = 3
