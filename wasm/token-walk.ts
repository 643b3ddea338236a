// Reads the elements of a msgpack array of integers of at most 32 bits, as token ids are.
// AssemblyScript, compiled by scripts/build-wasm.ts into src/kvcache/events/token-walk-wasm.ts; it is not checked by
// TypeScript.
//
// Where an element begins is known only when the size of the one before is, so a walk waits for memory at each. First, for
// every byte, as if an element began there, the bytes of one, two and four elements from there on are written down, 16 at
// a time: then the walk takes four at a step.

/** For each first byte the bits that its value may have; 0 for what is no token. */
const MASKS: usize = 1024
/** Where the caller puts the bytes; there are some before and after that belong to nobody. */
const INPUT: usize = 4096
/** By byte of the input: bytes of the element that begins there, of two, of four. */
const ONE: usize = 20992
const TWO: usize = 37632
const FOUR: usize = 54272
/** Where the tokens are left. */
const TOKENS: usize = 71680

const UINT8: i32 = 0xcc
const UINT16: i32 = 0xcd
const UINT32: i32 = 0xce
/** Four elements take at most as many bytes. */
const FOUR_ELEMENTS: usize = 20

/** To be called once. */
export function prepare(): void {
  for (let head = 0; head < 0x80; head++) store<i32>(MASKS + (head << 2), 0x7f)
  store<i32>(MASKS + (UINT8 << 2), 0xff)
  store<i32>(MASKS + (UINT16 << 2), 0xffff)
  store<i32>(MASKS + (UINT32 << 2), -1)
}

/** Sizes of 16 elements by their first bytes: 2, 3 and 5 for the integers of 1, 2 and 4 bytes, else 1. */
// @ts-ignore: decorator
@inline
function sizes(heads: v128): v128 {
  const place = i8x16.sub(heads, i8x16.splat(<i8>(UINT8 - 1)))
  const further = i8x16.swizzle(i8x16(0, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), place)
  return i8x16.add(further, i8x16.splat(1))
}

/** For each of 16 places what is at the place that is so many further on, at most 16. */
// @ts-ignore: decorator
@inline
function further(distances: v128, here: v128, next: v128): v128 {
  const places = i8x16.add(i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), distances)
  // A place that is not among the 16 gives 0.
  return v128.or(
    i8x16.swizzle(here, places),
    i8x16.swizzle(next, i8x16.sub(places, i8x16.splat(16))),
  )
}

function measure(length: usize): void {
  let here = sizes(v128.load(INPUT))
  let next = sizes(v128.load(INPUT + 16))
  let two = i8x16.add(here, further(here, here, next))
  for (let at: usize = 0; at < length; at += 16) {
    const afterNext = sizes(v128.load(INPUT + at + 32))
    const nextTwo = i8x16.add(next, further(next, next, afterNext))
    v128.store(ONE + at, here)
    v128.store(TWO + at, two)
    v128.store(FOUR + at, i8x16.add(two, further(two, two, nextTwo)))
    here = next
    next = afterNext
    two = nextTwo
  }
}

/**
 * Reads up to `count` whole elements of the first `length` bytes of the input, at most 16384.
 *
 * @returns bytes read in the upper half, tokens in the lower half; -1 where an element is no token
 */
export function walk(length: usize, count: i32): i32 {
  measure(length)
  const end = INPUT + length
  let at = INPUT
  let to = TOKENS
  let valid = i32x4.splat(-1)
  let left = count
  for (; left >= 4 && at + FOUR_ELEMENTS <= end; left -= 4) {
    const third = at + load<u8>(at + (TWO - INPUT))
    const fifth = at + load<u8>(at + (FOUR - INPUT))
    const second = at + load<u8>(at + (ONE - INPUT))
    const fourth = third + load<u8>(third + (ONE - INPUT))
    let masks = v128.load32_zero(MASKS + (<usize>load<u8>(at) << 2))
    masks = v128.load_lane<u32>(MASKS + (<usize>load<u8>(second) << 2), masks, 1)
    masks = v128.load_lane<u32>(MASKS + (<usize>load<u8>(third) << 2), masks, 2)
    masks = v128.load_lane<u32>(MASKS + (<usize>load<u8>(fourth) << 2), masks, 3)
    // Big-endian, and whatever is before where they are shorter.
    let values = v128.load32_zero(second - 4)
    values = v128.load_lane<u32>(third - 4, values, 1)
    values = v128.load_lane<u32>(fourth - 4, values, 2)
    values = v128.load_lane<u32>(fifth - 4, values, 3)
    values = i8x16.shuffle(values, values, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12)
    v128.store(to, v128.and(values, masks))
    valid = v128.and(valid, masks)
    at = fifth
    to += 16
  }
  let all = i32x4.extract_lane(valid, 0) & i32x4.extract_lane(valid, 1)
  all &= i32x4.extract_lane(valid, 2) & i32x4.extract_lane(valid, 3)
  for (; left > 0 && at < end; left--) {
    const next = at + load<u8>(at + (ONE - INPUT))
    if (next > end) break
    const mask = load<i32>(MASKS + (<usize>load<u8>(at) << 2))
    store<i32>(to, bswap<i32>(load<i32>(next - 4)) & mask)
    all &= mask
    at = next
    to += 4
  }
  // Every mask but that of no token has the lowest bit.
  if ((all & 1) == 0) return -1
  return <i32>(((at - INPUT) << 16) | ((to - TOKENS) >> 2))
}
