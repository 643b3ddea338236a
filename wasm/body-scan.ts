// Reads a JSON body in place: whether it is JSON, where its top-level members are, and which texts its messages have.
// AssemblyScript, compiled by scripts/build-wasm.ts into src/openai/body-scan-wasm.ts; it is not checked by TypeScript.
//
// It takes what is common and leaves the rest: what is not JSON, what is nested or counted beyond the limits, a key with an
// escape or given twice where it matters, a message without a role are answered with NOT_READ, and JSON.parse decides.
// The caller sees to it that the body is UTF-8, and that memory goes on for 128 bytes more than twice its length. A text is
// at most as long as the body that it is from.

const QUOTE: i32 = 0x22
const BACKSLASH: i32 = 0x5c
const COMMA: i32 = 0x2c
const COLON: i32 = 0x3a
const OPEN_BRACE: i32 = 0x7b
const CLOSE_BRACE: i32 = 0x7d
const OPEN_BRACKET: i32 = 0x5b
const CLOSE_BRACKET: i32 = 0x5d
const NEWLINE: i32 = 0x0a

/** Answer for a body that is not read here. */
const NOT_READ: i32 = -1

/** Top-level members: where the key begins and ends, where the value does; 32 bits each. */
const MEMBERS: usize = 1024
const MAX_MEMBERS: i32 = 256
/** For each depth whether an object or an array is open. */
const STACK: usize = 8192
const MAX_DEPTH: i32 = 8000
/** Pieces of the messages' text: where one begins and ends, and what it is; 32 bits each. */
const PIECES: usize = 16384
const PIECE_BYTES: usize = 12
const MAX_PIECES: i32 = 20000
/** Messages: where one begins and ends, its hash, whether it is ASCII; 32 bits each. Each has a piece at least. */
const MESSAGES: usize = 262144
const MESSAGE_BYTES: usize = 16
/** Where the body is put. */
const INPUT: usize = 589824

const PLAIN: i32 = 0
const ESCAPED: i32 = 1

let containers: i32 = 0
let commas: i32 = 0
let containerLimit: i32 = 0
let commaLimit: i32 = 0
let depthLimit: i32 = 0
/** Set by `stringEnd` where the string has an escape. */
let escaped: i32 = 0
let pieces: i32 = 0
let messages: i32 = 0

/** Position of the first byte that is no white space. */
// @ts-ignore: decorator
@inline
function ink(at: usize): usize {
  let byte: i32 = load<u8>(at)
  while (byte == 0x20 || byte == NEWLINE || byte == 0x0d || byte == 0x09) byte = load<u8>(++at)
  return at
}

function isHex(byte: i32): bool {
  return (byte >= 0x30 && byte <= 0x39) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66)
}

/** Position of the quote that ends the string whose text begins at `at`; 0 where it is no string of JSON's. */
function stringEnd(at: usize): usize {
  while (true) {
    const bytes = v128.load(at)
    const odd = v128.or(
      v128.or(
        i8x16.eq(bytes, i8x16.splat(<i8>QUOTE)),
        i8x16.eq(bytes, i8x16.splat(<i8>BACKSLASH)),
      ),
      i8x16.lt_u(bytes, i8x16.splat(0x20)),
    )
    const mask = i8x16.bitmask(odd)
    if (mask == 0) {
      at += 16
      continue
    }
    at += ctz(mask)
    const byte: i32 = load<u8>(at)
    if (byte == QUOTE) return at
    if (byte != BACKSLASH) return 0
    escaped = ESCAPED
    switch (load<u8>(at, 1)) {
      case 0x22: // "
      case 0x5c: // \
      case 0x2f: // /
      case 0x62: // b
      case 0x66: // f
      case 0x6e: // n
      case 0x72: // r
      case 0x74: // t
        at += 2
        break
      case 0x75: // u
        for (let i: usize = 2; i < 6; i++) if (!isHex(load<u8>(at + i))) return 0
        at += 6
        break
      default:
        return 0
    }
  }
}

/** Position after the number that begins at `at`; 0 where it is none. */
function numberEnd(at: usize): usize {
  if (load<u8>(at) == 0x2d) at++
  if (load<u8>(at) == 0x30) at++
  else {
    const digits = digitsEnd(at)
    if (digits == at) return 0
    at = digits
  }
  if (load<u8>(at) == 0x2e) {
    const digits = digitsEnd(at + 1)
    if (digits == at + 1) return 0
    at = digits
  }
  if ((load<u8>(at) | 0x20) == 0x65) {
    at++
    if (load<u8>(at) == 0x2b || load<u8>(at) == 0x2d) at++
    const digits = digitsEnd(at)
    if (digits == at) return 0
    at = digits
  }
  return at
}

function digitsEnd(at: usize): usize {
  while (<u32>(load<u8>(at) - 0x30) <= 9) at++
  return at
}

/** Position of a member's value, from its key on; 0 where there is none. */
function memberValue(at: usize): usize {
  if (load<u8>(at) != QUOTE) return 0
  const end = stringEnd(at + 1)
  return end == 0 ? 0 : afterKey(end)
}

function afterKey(end: usize): usize {
  const at = ink(end + 1)
  return load<u8>(at) == COLON ? ink(at + 1) : 0
}

function opens(depth: i32): bool {
  return ++containers <= containerLimit && depth <= depthLimit
}

/** Position after the value that begins at `at`, in `depth` objects and arrays; 0 where it is not to be read. */
function valueEnd(at: usize, depth: i32): usize {
  const base = depth
  while (true) {
    const byte: i32 = load<u8>(at)
    if (byte == QUOTE) {
      const end = stringEnd(at + 1)
      if (end == 0) return 0
      at = end + 1
    } else if (byte == OPEN_BRACE || byte == OPEN_BRACKET) {
      if (!opens(++depth)) return 0
      // The closing byte of each is two after the opening one.
      store<u8>(STACK + depth, <u8>(byte + 2))
      at = ink(at + 1)
      if (load<u8>(at) == byte + 2) {
        at++
        depth--
      } else {
        if (byte == OPEN_BRACE) {
          at = memberValue(at)
          if (at == 0) return 0
        }
        continue
      }
    } else if (byte == 0x2d || <u32>(byte - 0x30) <= 9) {
      at = numberEnd(at)
      if (at == 0) return 0
    } else if (load<u32>(at) == 0x65757274 || load<u32>(at) == 0x6c6c756e) {
      // `true` and `null`
      at += 4
    } else if (byte == 0x66 && load<u32>(at, 1) == 0x65736c61) {
      // `false`
      at += 5
    } else return 0
    while (true) {
      if (depth == base) return at
      at = ink(at)
      const closing: i32 = load<u8>(STACK + depth)
      const next: i32 = load<u8>(at)
      if (next == closing) {
        at++
        depth--
        continue
      }
      if (next != COMMA || ++commas > commaLimit) return 0
      at = ink(at + 1)
      if (closing == CLOSE_BRACE) {
        at = memberValue(at)
        if (at == 0) return 0
      }
      break
    }
  }
}

/** Reserves a piece; -1 where there is no room. */
function newPiece(start: usize, end: usize, kind: i32): i32 {
  if (pieces == MAX_PIECES) return -1
  setPiece(pieces, start, end, kind)
  return pieces++
}

function setPiece(number: i32, start: usize, end: usize, kind: i32): void {
  const at = PIECES + <usize>number * PIECE_BYTES
  store<u32>(at, <u32>start)
  store<u32>(at, <u32>end, 4)
  store<i32>(at, kind, 8)
}

/** Position after the string at the quote `at`, which becomes a piece: `number`, or a new one where that is -1. */
function stringPiece(at: usize, number: i32): usize {
  escaped = PLAIN
  const end = stringEnd(at + 1)
  if (end == 0) return 0
  if (number >= 0) setPiece(number, at + 1, end, escaped)
  else if (newPiece(at + 1, end, escaped) < 0) return 0
  return end + 1
}

/** The name of the key whose text begins at `at`, of 4 letters. */
// @ts-ignore: decorator
@inline
function isKey4(at: usize, end: usize, name: u32): bool {
  return end - at == 4 && load<u32>(at) == name
}

const ROLE: u32 = 0x656c6f72
const TEXT: u32 = 0x74786574
const CONTENT_CONT: u32 = 0x746e6f63
const CONTENT_TENT: u32 = 0x746e6574
const TOOL_CALLS_FIRST: u64 = 0x6c61635f6c6f6f74
const TOOL_CALLS_LAST: u16 = 0x736c

function isContent(at: usize, end: usize): bool {
  return end - at == 7 && load<u32>(at) == CONTENT_CONT && load<u32>(at, 3) == CONTENT_TENT
}

function isToolCalls(at: usize, end: usize): bool {
  return end - at == 10 && load<u64>(at) == TOOL_CALLS_FIRST && load<u16>(at, 8) == TOOL_CALLS_LAST
}

function isMessages(at: usize, end: usize): bool {
  return end - at == 8 && load<u32>(at) == 0x7373656d && load<u32>(at, 4) == 0x73656761
}

/** After a member or an element: the next one's position, or 0 with `closedAt` set where the list is closed. */
let closedAt: usize = 0

// @ts-ignore: decorator
@inline
function nextItem(at: usize, closing: i32): usize {
  closedAt = 0
  at = ink(at)
  const byte: i32 = load<u8>(at)
  if (byte == closing) {
    closedAt = at + 1
    return 0
  }
  return byte == COMMA && ++commas <= commaLimit ? ink(at + 1) : 0
}

/** A part of a message's content: its text, or all of it where it has none. */
function partEnd(at: usize): usize {
  if (!opens(5)) return 0
  const start = at
  let textStart: usize = 0
  let textEnd: usize = 0
  let textKind: i32 = PLAIN
  let hasText = false
  at = ink(at + 1)
  if (load<u8>(at) == CLOSE_BRACE) {
    return newPiece(start, at + 1, PLAIN) < 0 ? 0 : at + 1
  }
  while (at != 0) {
    if (load<u8>(at) != QUOTE) return 0
    const key = at + 1
    escaped = PLAIN
    const keyEnd = stringEnd(key)
    if (keyEnd == 0 || escaped) return 0
    at = afterKey(keyEnd)
    if (at == 0) return 0
    if (isKey4(key, keyEnd, TEXT)) {
      if (hasText) return 0
      hasText = true
      if (load<u8>(at) == QUOTE) {
        textStart = at + 1
        escaped = PLAIN
        textEnd = stringEnd(textStart)
        if (textEnd == 0) return 0
        textKind = escaped
        at = textEnd + 1
      } else at = valueEnd(at, 5)
    } else at = valueEnd(at, 5)
    if (at == 0) return 0
    at = nextItem(at, CLOSE_BRACE)
  }
  if (closedAt == 0) return 0
  const end = closedAt
  const number =
    textEnd != 0 ? newPiece(textStart, textEnd, textKind) : newPiece(start, end, PLAIN)
  return number < 0 ? 0 : end
}

function contentListEnd(at: usize): usize {
  if (!opens(4)) return 0
  at = ink(at + 1)
  if (load<u8>(at) == CLOSE_BRACKET) return at + 1
  while (at != 0) {
    const byte: i32 = load<u8>(at)
    if (byte == QUOTE) at = stringPiece(at, -1)
    else if (byte == OPEN_BRACE) at = partEnd(at)
    else {
      const start = at
      at = valueEnd(at, 4)
      const end = byte == OPEN_BRACKET ? at : start
      if (at != 0 && newPiece(start, end, PLAIN) < 0) return 0
    }
    if (at == 0) return 0
    at = nextItem(at, CLOSE_BRACKET)
  }
  return closedAt
}

function messageEnd(at: usize): usize {
  if (!opens(3)) return 0
  const role = newPiece(0, 0, PLAIN)
  if (role < 0) return 0
  let hasRole = false
  let hasContent = false
  let hasCalls = false
  let callsStart: usize = 0
  let callsEnd: usize = 0
  at = ink(at + 1)
  while (at != 0) {
    if (load<u8>(at) != QUOTE) return 0
    const key = at + 1
    escaped = PLAIN
    const keyEnd = stringEnd(key)
    if (keyEnd == 0 || escaped) return 0
    at = afterKey(keyEnd)
    if (at == 0) return 0
    const byte: i32 = load<u8>(at)
    if (isKey4(key, keyEnd, ROLE)) {
      if (hasRole || byte != QUOTE) return 0
      hasRole = true
      at = stringPiece(at, role)
    } else if (isContent(key, keyEnd)) {
      if (hasContent) return 0
      hasContent = true
      if (byte == QUOTE) at = stringPiece(at, -1)
      else if (byte == OPEN_BRACKET) at = contentListEnd(at)
      else at = valueEnd(at, 3)
    } else if (isToolCalls(key, keyEnd)) {
      if (hasCalls) return 0
      hasCalls = true
      const start = at
      at = valueEnd(at, 3)
      if (byte == OPEN_BRACKET) {
        callsStart = start
        callsEnd = at
      }
    } else at = valueEnd(at, 3)
    if (at == 0) return 0
    at = nextItem(at, CLOSE_BRACE)
  }
  const end = closedAt
  if (end == 0 || !hasRole) return 0
  return callsEnd != 0 && newPiece(callsStart, callsEnd, PLAIN) < 0 ? 0 : end
}

function messagesEnd(at: usize): usize {
  if (load<u8>(at) != OPEN_BRACKET || !opens(2)) return 0
  at = ink(at + 1)
  while (at != 0) {
    if (load<u8>(at) != OPEN_BRACE) return 0
    const message = MESSAGES + <usize>messages * MESSAGE_BYTES
    const start = at
    at = messageEnd(at)
    if (at == 0) return 0
    messages++
    store<u32>(message, <u32>start)
    store<u32>(message, <u32>at, 4)
    at = nextItem(at, CLOSE_BRACKET)
  }
  return closedAt
}

/** Whether one of the members so far has the same key. */
function isTwice(key: usize, keyEnd: usize, members: i32): bool {
  const length = keyEnd - key
  for (let i = 0; i < members; i++) {
    const member = MEMBERS + <usize>i * 16
    const other = <usize>load<u32>(member)
    if (<usize>load<u32>(member, 4) - other == length && memory.compare(other, key, length) == 0) {
      return true
    }
  }
  return false
}

/**
 * Reads the body of `length` bytes at INPUT.
 *
 * @returns how many members stand at MEMBERS, or NOT_READ
 */
export function scan(length: i32, maxContainers: i32, maxValues: i32, maxDepth: i32): i32 {
  const bodyEnd = INPUT + <usize>length
  // No string and no number goes on behind the body.
  v128.store(bodyEnd, i8x16.splat(0))
  containers = 0
  commas = 0
  pieces = 0
  messages = 0
  containerLimit = maxContainers
  commaLimit = maxValues
  depthLimit = min(maxDepth, MAX_DEPTH)
  let members: i32 = 0
  let at = ink(INPUT)
  if (load<u8>(at) != OPEN_BRACE || !opens(1)) return NOT_READ
  at = ink(at + 1)
  if (load<u8>(at) == CLOSE_BRACE) {
    closedAt = at + 1
    at = 0
  }
  while (at != 0) {
    if (load<u8>(at) != QUOTE || members == MAX_MEMBERS) return NOT_READ
    const key = at + 1
    escaped = PLAIN
    const keyEnd = stringEnd(key)
    if (keyEnd == 0 || escaped) return NOT_READ
    const value = afterKey(keyEnd)
    if (value == 0 || isTwice(key, keyEnd, members)) return NOT_READ
    at = isMessages(key, keyEnd) ? messagesEnd(value) : valueEnd(value, 1)
    if (at == 0) return NOT_READ
    const member = MEMBERS + <usize>members * 16
    members++
    store<u32>(member, <u32>key)
    store<u32>(member, <u32>keyEnd, 4)
    store<u32>(member, <u32>value, 8)
    store<u32>(member, <u32>at, 12)
    at = nextItem(at, CLOSE_BRACE)
  }
  return closedAt != 0 && ink(closedAt) == bodyEnd ? members : NOT_READ
}

function hex4(at: usize): u32 {
  let code: u32 = 0
  for (let i: usize = 0; i < 4; i++) {
    const byte: u32 = load<u8>(at + i)
    code = (code << 4) | (byte <= 0x39 ? byte - 0x30 : (byte | 0x20) - 0x57)
  }
  return code
}

/** Writes a character in UTF-8. */
function putCharacter(to: usize, code: u32): usize {
  if (code < 0x80) {
    store<u8>(to, <u8>code)
    return to + 1
  }
  if (code < 0x800) {
    store<u8>(to, <u8>(0xc0 | (code >> 6)))
    store<u8>(to, <u8>(0x80 | (code & 0x3f)), 1)
    return to + 2
  }
  if (code < 0x10000) {
    store<u8>(to, <u8>(0xe0 | (code >> 12)))
    store<u8>(to, <u8>(0x80 | ((code >> 6) & 0x3f)), 1)
    store<u8>(to, <u8>(0x80 | (code & 0x3f)), 2)
    return to + 3
  }
  store<u8>(to, <u8>(0xf0 | (code >> 18)))
  store<u8>(to, <u8>(0x80 | ((code >> 12) & 0x3f)), 1)
  store<u8>(to, <u8>(0x80 | ((code >> 6) & 0x3f)), 2)
  store<u8>(to, <u8>(0x80 | (code & 0x3f)), 3)
  return to + 4
}

/** What each letter after a backslash stands for, from 0x20 on. */
// biome-ignore format: a table
const UNESCAPED: usize = memory.data<u8>([
  0, 0, 34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 47, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 92, 0, 0, 0, 0, 0,
  8, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 13, 0, 9, 0, 0, 0,
])

/** Writes the text of a string of JSON's; half of a surrogate pair becomes U+FFFD. Up to 16 bytes after it are changed. */
function putString(to: usize, at: usize, end: usize): usize {
  while (at < end) {
    const bytes = v128.load(at)
    v128.store(to, bytes)
    const mask = i8x16.bitmask(i8x16.eq(bytes, i8x16.splat(<i8>BACKSLASH)))
    const run: usize = mask == 0 ? 16 : <usize>ctz(mask)
    if (at + run >= end) return to + (end - at)
    at += run
    to += run
    if (mask == 0) continue
    const letter = load<u8>(at, 1)
    at += 2
    if (letter != 0x75) {
      store<u8>(to++, load<u8>(UNESCAPED + letter - 0x20))
      continue
    }
    let code = hex4(at)
    at += 4
    if ((code & 0xf800) == 0xd800) {
      const low: u32 =
        code < 0xdc00 && at + 6 <= end && load<u16>(at) == 0x755c ? hex4(at + 2) : 0
      if ((low & 0xfc00) == 0xdc00) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
        at += 6
      } else code = 0xfffd
    }
    to = putCharacter(to, code)
  }
  return to
}

/** Cuts the text at `limit` bytes, before a character that would not be whole, pads it, and clears each word's highest bit. */
function finish(from: usize, to: usize, limit: i32, isAscii: bool): i32 {
  if (to - from > <usize>limit) {
    to = from + <usize>limit
    while (to > from && (load<u8>(to) & 0xc0) == 0x80) to--
  }
  v128.store(to, i8x16.splat(0))
  if (!isAscii) {
    for (let at = from; at < to; at += 16) {
      v128.store(at, v128.and(v128.load(at), i32x4.splat(0x7fffffff)))
    }
  }
  return <i32>(to - from)
}

/**
 * Writes to `to` the bytes from `first` to `firstEnd` as they are, then the messages' pieces, one to a line, at most `limit`
 * bytes in all, as little-endian words of four bytes with zeros at the end and without their highest bits.
 *
 * @returns bytes, without the zeros
 */
export function messagesText(
  to: usize,
  first: usize,
  firstEnd: usize,
  limit: i32,
  isAscii: bool,
): i32 {
  const from = to
  let isFirst = true
  if (firstEnd > first) {
    memory.copy(to, first, firstEnd - first)
    to += firstEnd - first
    isFirst = false
  }
  for (let i = 0; i < pieces && to - from <= <usize>limit; i++) {
    if (!isFirst) store<u8>(to++, <u8>NEWLINE)
    isFirst = false
    const piece = PIECES + <usize>i * PIECE_BYTES
    const start = <usize>load<u32>(piece)
    const end = <usize>load<u32>(piece, 4)
    if (load<i32>(piece, 8) == ESCAPED) to = putString(to, start, end)
    else {
      memory.copy(to, start, end - start)
      to += end - start
    }
  }
  return finish(from, to, limit, isAscii)
}

/** The same of one string, whose quotes stand before `start` and at `end`. */
export function stringText(
  to: usize,
  start: usize,
  end: usize,
  limit: i32,
  isAscii: bool,
): i32 {
  return finish(to, putString(to, start, end), limit, isAscii)
}

const FACTOR_A: u64 = 0x9e3779b97f4a7c15
const FACTOR_B: u64 = 0xc2b2ae3d27d4eb4f
const HIGH_BITS: u64 = 0x8080808080808080

// @ts-ignore: decorator
@inline
function mixed(hash: u64, bytes: u64, factor: u64): u64 {
  const product = (hash ^ bytes) * factor
  return product ^ (product >> 29)
}

/**
 * Hashes each message, by 30 bits, and sees whether it is ASCII.
 *
 * @returns how many of them stand at MESSAGES
 */
export function hashMessages(): i32 {
  for (let i = 0; i < messages; i++) {
    const message = MESSAGES + <usize>i * MESSAGE_BYTES
    const end = <usize>load<u32>(message, 4)
    let at = <usize>load<u32>(message)
    let a: u64 = <u64>(end - at)
    let b: u64 = 0
    let bits: u64 = 0
    for (; at + 16 <= end; at += 16) {
      const first = load<u64>(at)
      const second = load<u64>(at, 8)
      a = mixed(a, first, FACTOR_A)
      b = mixed(b, second, FACTOR_B)
      bits |= first | second
    }
    for (; at < end; at++) {
      const byte = <u64>load<u8>(at)
      a = mixed(a, byte, FACTOR_A)
      bits |= byte
    }
    const hash = mixed(a, b, FACTOR_B)
    store<u32>(message, <u32>(hash ^ (hash >> 32)) & 0x3fffffff, 8)
    store<u32>(message, <u32>((bits & HIGH_BITS) == 0), 12)
  }
  return messages
}
