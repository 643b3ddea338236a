const P32_1 = 0x9e3779b1n
const P32_2 = 0x85ebca77n
const P32_3 = 0xc2b2ae3dn
const P64_1 = 0x9e3779b185ebca87n
const P64_2 = 0xc2b2ae3d27d4eb4fn
const P64_3 = 0x165667b19e3779f9n
const P64_4 = 0x85ebca77c2b2ae63n
const P64_5 = 0x27d4eb2f165667c5n
const MX_1 = 0x165667919e3779f9n
const MX_2 = 0x9fb21c651e98df25n
const MASK = 0xffff_ffff_ffff_ffffn
const LOW = 0xffff_ffffn

const SECRET = Buffer.from(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221' +
    'b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb' +
    '170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
  'hex',
)
const STRIPE = 64
const STRIPES_PER_BLOCK = (SECRET.length - STRIPE) / 8
const BLOCK = STRIPE * STRIPES_PER_BLOCK

/**
 * XXH3 of 128 bits, without a seed, in its canonical form: 16 bytes, big-endian
 * (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
 */
export function xxh3(input: Uint8Array): Buffer {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength)
  const [lo, hi] = hash(bytes)
  const digest = Buffer.allocUnsafe(16)
  digest.writeBigUInt64BE(hi, 0)
  digest.writeBigUInt64BE(lo, 8)
  return digest
}

type Pair = [lo: bigint, hi: bigint]

function hash(bytes: Buffer): Pair {
  const { length } = bytes
  if (length > 240) return ofLong(bytes)
  if (length > 16) return ofMedium(bytes)
  if (length > 8) return of9To16(bytes)
  if (length >= 4) return of4To8(bytes)
  return length > 0 ? of1To3(bytes) : ofNothing()
}

function ofNothing(): Pair {
  return [avalanche64(secret(64) ^ secret(72)), avalanche64(secret(80) ^ secret(88))]
}

function of1To3(bytes: Buffer): Pair {
  const { length } = bytes
  const last = bytes[length - 1]!
  const low = ((bytes[0]! << 16) | (bytes[length >> 1]! << 24) | last | (length << 8)) >>> 0
  const swapped = Buffer.allocUnsafe(4)
  swapped.writeUInt32LE(low)
  const turned = swapped.readUInt32BE()
  const high = ((turned << 13) | (turned >>> 19)) >>> 0
  const flip = (at: number) => BigInt((SECRET.readUInt32LE(at) ^ SECRET.readUInt32LE(at + 4)) >>> 0)
  return [avalanche64(BigInt(low) ^ flip(0)), avalanche64(BigInt(high) ^ flip(8))]
}

function of4To8(bytes: Buffer): Pair {
  const { length } = bytes
  const input = BigInt(bytes.readUInt32LE(0)) | (BigInt(bytes.readUInt32LE(length - 4)) << 32n)
  const product = (input ^ secret(16) ^ secret(24)) * (P64_1 + BigInt(length << 2))
  let lo = product & MASK
  const hi = ((product >> 64n) + (lo << 1n)) & MASK
  lo ^= hi >> 3n
  lo ^= lo >> 35n
  lo = (lo * MX_2) & MASK
  return [lo ^ (lo >> 28n), avalanche(hi)]
}

function of9To16(bytes: Buffer): Pair {
  const { length } = bytes
  const first = bytes.readBigUInt64LE(0)
  let last = bytes.readBigUInt64LE(length - 8)
  const product = (first ^ last ^ secret(32) ^ secret(40)) * P64_1
  let lo = ((product & MASK) + (BigInt(length - 1) << 54n)) & MASK
  last ^= secret(48) ^ secret(56)
  const hi = ((product >> 64n) + last + (last & LOW) * (P32_2 - 1n)) & MASK
  lo ^= swap(hi)
  const mixed = lo * P64_2
  return [avalanche(mixed & MASK), avalanche(((mixed >> 64n) + hi * P64_2) & MASK)]
}

/** Of 17 to 240 bytes. */
function ofMedium(bytes: Buffer): Pair {
  const { length } = bytes
  let lo = (BigInt(length) * P64_1) & MASK
  let hi = 0n
  const mix = (a: number, b: number, at: number) => {
    lo = (lo + mix16(bytes, a, at)) & MASK
    lo ^= (bytes.readBigUInt64LE(b) + bytes.readBigUInt64LE(b + 8)) & MASK
    hi = (hi + mix16(bytes, b, at + 16)) & MASK
    hi ^= (bytes.readBigUInt64LE(a) + bytes.readBigUInt64LE(a + 8)) & MASK
  }
  if (length <= 128) {
    for (let i = (length - 1) >> 5; i >= 0; i--) mix(16 * i, length - 16 * (i + 1), 32 * i)
  } else {
    for (let i = 32; i < 160; i += 32) mix(i - 32, i - 16, i - 32)
    lo = avalanche(lo)
    hi = avalanche(hi)
    for (let i = 160; i <= length; i += 32) mix(i - 32, i - 16, 3 + i - 160)
    mix(length - 16, length - 32, 136 - 17 - 16)
  }
  const sum = (lo + hi) & MASK
  const other = (lo * P64_1 + hi * P64_4 + BigInt(length) * P64_2) & MASK
  return [avalanche(sum), -avalanche(other) & MASK]
}

/** Of more than 240 bytes. */
function ofLong(bytes: Buffer): Pair {
  const { length } = bytes
  const lanes = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
  const accumulate = (from: number, at: number) => {
    for (let i = 0; i < 8; i++) {
      const value = bytes.readBigUInt64LE(from + 8 * i)
      const keyed = value ^ secret(at + 8 * i)
      lanes[i ^ 1] = (lanes[i ^ 1]! + value) & MASK
      lanes[i] = (lanes[i]! + (keyed & LOW) * (keyed >> 32n)) & MASK
    }
  }
  const stripes = Math.floor((length - 1) / STRIPE)
  for (let n = 0; n < stripes; n++) {
    accumulate(n * STRIPE, (n % STRIPES_PER_BLOCK) * 8)
    if ((n + 1) % STRIPES_PER_BLOCK !== 0 || length - 1 < ((n + 1) / STRIPES_PER_BLOCK) * BLOCK) {
      continue
    }
    for (let i = 0; i < 8; i++) {
      const lane = lanes[i]!
      lanes[i] = ((lane ^ (lane >> 47n) ^ secret(SECRET.length - STRIPE + 8 * i)) * P32_1) & MASK
    }
  }
  accumulate(length - STRIPE, SECRET.length - STRIPE - 7)
  const merge = (start: bigint, at: number) => {
    let sum = start
    for (let i = 0; i < 8; i += 2) {
      sum += fold(lanes[i]! ^ secret(at + 8 * i), lanes[i + 1]! ^ secret(at + 8 * i + 8))
    }
    return avalanche(sum & MASK)
  }
  const size = BigInt(length)
  return [
    merge((size * P64_1) & MASK, 11),
    merge(~(size * P64_2) & MASK, SECRET.length - STRIPE - 11),
  ]
}

function mix16(bytes: Buffer, from: number, at: number): bigint {
  return fold(
    bytes.readBigUInt64LE(from) ^ secret(at),
    bytes.readBigUInt64LE(from + 8) ^ secret(at + 8),
  )
}

function fold(a: bigint, b: bigint): bigint {
  const product = a * b
  return (product & MASK) ^ (product >> 64n)
}

function secret(at: number): bigint {
  return SECRET.readBigUInt64LE(at)
}

function swap(value: bigint): bigint {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigUInt64LE(value)
  return bytes.readBigUInt64BE()
}

function avalanche(value: bigint): bigint {
  let h = value ^ (value >> 37n)
  h = (h * MX_1) & MASK
  return h ^ (h >> 32n)
}

function avalanche64(value: bigint): bigint {
  let h = value ^ (value >> 33n)
  h = (h * P64_2) & MASK
  h ^= h >> 29n
  h = (h * P64_3) & MASK
  return h ^ (h >> 32n)
}
