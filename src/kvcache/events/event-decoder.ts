import { tokenWalk } from './token-walk.ts'

/**
 * Receives the events of one batch in order. What the decoder shows of an event is valid within the call only.
 */
export interface EventSink {
  stored(event: EventDecoder): void
  removed(event: EventDecoder): void
  cleared(): void
  /** An event that is no event, or whose fields are not of their types. */
  malformed(): void
}

// Fields in the order of the positional encoding (vLLM `distributed/kv_events.py`), then those of maps only.
const FIELD_NAMES = [
  'type',
  'block_hashes',
  'parent_block_hash',
  'token_ids',
  'block_size',
  'lora_id',
  'medium',
  'lora_name',
  'extra_keys',
  'group_idx',
  'kv_cache_spec_kind',
  'kv_cache_spec_sliding_window',
  'locality',
  'ownership',
] as const
const TYPE = 0
const BLOCK_HASHES = 1
const PARENT_HASH = 2
const TOKEN_IDS = 3
const BLOCK_SIZE = 4
const LORA_ID = 5
const MEDIUM = 6
const LORA_NAME = 7
const EXTRA_KEYS = 8
const GROUP = 9
const SPEC_KIND = 10
const LOCALITY = 12
const OWNERSHIP = 13
const SKIPPED = 14

const OTHER_EVENT = 0
const STORED_EVENT = 1
const REMOVED_EVENT = 2
const CLEARED_EVENT = 3
const EVENT_NAMES = ['', 'BlockStored', 'BlockRemoved', 'AllBlocksCleared']

// What the elements of a positional event are, by kind of event.
const POSITIONS: readonly (readonly number[])[] = [
  [TYPE],
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  [TYPE, BLOCK_HASHES, MEDIUM, GROUP],
  [TYPE],
]

const MAX_REUSED = 1 << 20
const WALKED_INTS = 4
// From so many tokens on, compiled code pays.
const MIN_WALKED = 80
const UINT64 = 0xcf
/** A first byte that no value has. */
const NO_VALUE = 0xc1
const MAX_NAME_CHARACTERS = 512

/**
 * Decodes batches of KV events in both encodings, `[ts, events, rank]` with each event an array or a map, without
 * objects per event or block: hashes and tokens lie in arrays that the next event overwrites.
 *
 * A batch is checked as a whole before the first event is handed out, so a truncated or lying message has no effect.
 * Nothing is allocated for counts that the bytes do not back. Unknown keys, further elements and event types are skipped.
 */
export class EventDecoder {
  /** Block hashes of the event as pairs (lo, hi); hashes of 16 or 32 bytes by their last 8, big-endian. */
  hashes = new Int32Array(512)
  hashCount = 0
  hasParent = false
  parentLo = 0
  parentHi = 0
  tokens = new Int32Array(0)
  tokenCount = 0
  blockTokens = 0
  /** Undefined when the event names none. */
  loraId: number | undefined
  loraName: string | undefined
  /** In lower case; undefined when the event names none, which means the GPU. */
  medium: string | undefined
  /** Undefined when the event has no group. */
  group: number | undefined
  specKind: string | undefined
  locality: string | undefined
  owned = false
  /** True when the event has the field `extra_keys`, be it empty. */
  hasExtraKeys = false
  /** Data-parallel rank of the batch, 0 when it says none. */
  rank = 0
  /** True when the batch says its rank. */
  hasRank = false
  /** Time of the batch in epoch seconds, 0 when it says none. */
  timestamp = 0
  /** The message. */
  bytes: Uint8Array = new Uint8Array(0)

  #at = 0
  #lo = 0
  #hi = 0
  #eventsAt = 0
  #events = 0
  #extraAt = 0
  #extraCount = 0
  #malformed = false
  readonly #texts = new Map<string, string>()
  #view: DataView | undefined
  /** Tokens of all events of the message. */
  #room = new Int32Array(8192)
  #roomUsed = 0
  /** Of each array of tokens in the message's order: its first byte, its end, its first token in `#room`, how many. */
  readonly #walked: number[] = []
  #nextWalked = 0
  readonly #walk = tokenWalk()

  /**
   * Checks a message and reads its rank and time; false when it is not a batch of events. Must be called before
   * `forEach`.
   */
  open(bytes: Uint8Array): boolean {
    this.bytes = bytes
    this.rank = 0
    this.hasRank = false
    this.timestamp = 0
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#roomUsed = 0
    if (this.#room.length > MAX_REUSED) this.#room = new Int32Array(8192)
    this.#walked.length = 0
    this.#at = 0
    const elements = this.#arrayHead()
    if (elements < 2) return false
    const timestampAt = this.#at
    if (!this.#skip()) return false
    const eventsAt = this.#at
    const events = this.#arrayHead()
    if (events < 0 || events > bytes.length - this.#at) return false
    this.#eventsAt = this.#at
    this.#events = events
    this.#at = eventsAt
    if (!this.#skip()) return false
    if (elements > 2) {
      const rankAt = this.#at
      if (!this.#skip()) return false
      this.#at = rankAt
      if (bytes[rankAt] !== 0xc0) {
        if (!this.#integer() || this.#hi !== 0 || this.#lo < 0) return false
        this.rank = this.#lo
        this.hasRank = true
      }
      this.#at = rankAt
      for (let i = 2; i < elements; i++) if (!this.#skip()) return false
    }
    if (this.#at !== bytes.length) return false
    if (bytes[timestampAt] === 0xcb) this.timestamp = this.#view.getFloat64(timestampAt + 1)
    return true
  }

  /** Hands out the events of the message that was opened last. */
  forEach(sink: EventSink): void {
    this.#at = this.#eventsAt
    this.#nextWalked = 0
    for (let i = 0; i < this.#events; i++) this.#event(sink)
  }

  /**
   * Reads the extra keys of one block of the event.
   *
   * @param each told of every extra in order: its text, or undefined when it is something else, and where its bytes lie
   */
  extrasOf(
    block: number,
    each: (text: string | undefined, start: number, end: number) => void,
  ): void {
    if (block >= this.#extraCount) return
    this.#at = this.#extraAt
    for (let i = 0; i < block; i++) this.#skip()
    if (this.bytes[this.#at] === 0xc0) return
    const count = this.#arrayHead()
    for (let i = 0; i < count; i++) {
      const start = this.#at
      const text = this.#text()
      if (text === undefined) {
        this.#at = start
        this.#skip()
      }
      each(text, start, this.#at)
    }
  }

  /** True when some block of the event has extra keys. */
  hasExtras(): boolean {
    this.#at = this.#extraAt
    for (let i = 0; i < this.#extraCount; i++) {
      const c = this.bytes[this.#at]!
      if (c !== 0xc0 && c !== 0x90) return true
      this.#at++
    }
    return false
  }

  #event(sink: EventSink): void {
    this.hashCount = 0
    this.tokenCount = 0
    this.hasParent = false
    this.blockTokens = 0
    this.loraId = undefined
    this.loraName = undefined
    this.medium = undefined
    this.group = undefined
    this.specKind = undefined
    this.locality = undefined
    this.owned = false
    this.hasExtraKeys = false
    this.#extraCount = 0
    this.#malformed = false
    const kind = this.#fields()
    const next = this.#at
    if (this.#malformed) sink.malformed()
    else if (kind === STORED_EVENT) sink.stored(this)
    else if (kind === REMOVED_EVENT) sink.removed(this)
    else if (kind === CLEARED_EVENT) sink.cleared()
    this.#at = next
  }

  /** Reads the event that comes next, in either encoding, and answers its kind. */
  #fields(): number {
    const elements = this.#arrayHead()
    if (elements > 0) {
      const kind = this.#eventKind()
      const fields = POSITIONS[kind]!
      for (let i = 1; i < elements; i++) this.#field(fields[i] ?? SKIPPED)
      return kind
    }
    const pairs = elements === 0 ? 0 : this.#mapHead()
    let kind = OTHER_EVENT
    if (pairs < 0) this.#skip()
    for (let i = 0; i < pairs; i++) {
      const field = this.#fieldName()
      if (field === TYPE) kind = this.#eventKind()
      else this.#field(field)
    }
    if (pairs <= 0) this.#malformed = true
    return kind
  }

  #eventKind(): number {
    const start = this.#at
    const length = this.#textHead()
    if (length < 0) {
      this.#at = start
      this.#skip()
      return OTHER_EVENT
    }
    this.#at += length
    for (let kind = STORED_EVENT; kind <= CLEARED_EVENT; kind++) {
      if (this.#equals(EVENT_NAMES[kind]!, this.#at - length, length)) return kind
    }
    return OTHER_EVENT
  }

  #fieldName(): number {
    const start = this.#at
    const length = this.#textHead()
    if (length < 0) {
      this.#at = start
      this.#skip()
      return SKIPPED
    }
    this.#at += length
    for (let field = 0; field < FIELD_NAMES.length; field++) {
      if (this.#equals(FIELD_NAMES[field]!, this.#at - length, length)) return field
    }
    return SKIPPED
  }

  #equals(name: string, at: number, length: number): boolean {
    if (name.length !== length) return false
    for (let i = 0; i < length; i++) if (this.bytes[at + i] !== name.charCodeAt(i)) return false
    return true
  }

  #field(field: number): void {
    const start = this.#at
    if (this.bytes[start] === 0xc0) {
      this.#at++
      if (field === EXTRA_KEYS) this.hasExtraKeys = true
      return
    }
    if (!this.#value(field)) {
      this.#malformed = true
      this.#at = start
      this.#skip()
    }
  }

  /** Reads one field; false when it is not of its type. */
  #value(field: number): boolean {
    switch (field) {
      case BLOCK_HASHES:
        return this.#hashList()
      case PARENT_HASH:
        this.hasParent = this.#hash()
        this.parentLo = this.#lo
        this.parentHi = this.#hi
        return this.hasParent
      case TOKEN_IDS:
        return this.#tokenList()
      case BLOCK_SIZE:
        if (!this.#integer() || this.#hi !== 0 || this.#lo < 0) return false
        this.blockTokens = this.#lo
        return true
      case LORA_ID:
        if (!this.#integer()) return false
        this.loraId = this.#lo
        return true
      case GROUP:
        if (!this.#integer()) return false
        this.group = this.#lo
        return true
      case MEDIUM:
        return (this.medium = this.#name()?.toLowerCase()) !== undefined
      case LORA_NAME:
        return (this.loraName = this.#name()) !== undefined
      case SPEC_KIND:
        return (this.specKind = this.#name()) !== undefined
      case LOCALITY:
        return (this.locality = this.#name()) !== undefined
      case OWNERSHIP:
        this.owned = true
        return this.#skip()
      case EXTRA_KEYS:
        return this.#extraList()
      default:
        return this.#skip()
    }
  }

  #extraList(): boolean {
    this.hasExtraKeys = true
    const count = this.#arrayHead()
    if (count < 0) return false
    this.#extraAt = this.#at
    for (let i = 0; i < count; i++) {
      const c = this.bytes[this.#at]!
      if (c !== 0xc0 && (c & 0xf0) !== 0x90 && c !== 0xdc && c !== 0xdd) return false
      this.#skip()
    }
    this.#extraCount = count
    return true
  }

  #hashList(): boolean {
    const count = this.#arrayHead()
    if (count < 0) return false
    if (this.hashes.length < count * 2 || this.hashes.length > MAX_REUSED) {
      this.hashes = new Int32Array(Math.max(512, count * 2))
    }
    const { hashes, bytes } = this
    const view = this.#view!
    for (let i = 0; i < count; i++) {
      const at = this.#at
      // Most engines send integers of 64 bits.
      if (bytes[at] === UINT64) {
        hashes[2 * i] = view.getInt32(at + 5)
        hashes[2 * i + 1] = view.getInt32(at + 1)
        this.#at = at + 9
        continue
      }
      if (!this.#hash()) return false
      hashes[2 * i] = this.#lo
      hashes[2 * i + 1] = this.#hi
    }
    this.hashCount = count
    return true
  }

  #tokenList(): boolean {
    const start = this.#at
    const count = this.#arrayHead()
    if (count < 0) return false
    if (this.#takeWalked(start)) return true
    this.tokens = new Int32Array(count)
    for (let i = 0; i < count; i++) {
      if (!this.#integer()) return false
      this.tokens[i] = this.#lo
    }
    this.tokenCount = count
    return true
  }

  /** Takes the tokens over that were read on the first walk from the array that begins at `start`; false without any. */
  #takeWalked(start: number): boolean {
    const walked = this.#walked
    while (this.#nextWalked < walked.length && walked[this.#nextWalked]! < start) {
      this.#nextWalked += WALKED_INTS
    }
    const at = this.#nextWalked
    if (walked[at] !== start) return false
    this.#at = walked[at + 1]!
    const first = walked[at + 2]!
    this.tokenCount = walked[at + 3]!
    this.tokens = this.#room.subarray(first, first + this.tokenCount)
    return true
  }

  /**
   * Reads the elements of an array on the first walk if all of them are integers of at most 32 bits, as tokens are.
   *
   * @param start where the array begins
   * @param from its first element
   * @returns where it ends; -1 where it is another kind of array, or not all there
   */
  #walkTokens(start: number, from: number, count: number): number {
    const { bytes } = this
    if (TOKEN_MASKS[bytes[from] ?? NO_VALUE] === 0 || count > bytes.length - from) return -1
    const first = this.#roomUsed
    if (this.#room.length < first + count) this.#growRoom(first + count)
    const end =
      count < MIN_WALKED || this.#walk === undefined
        ? this.#readTokens(from, count, first)
        : this.#walk.read(bytes, from, count, this.#room, first)
    if (end < 0) return -1
    this.#roomUsed = first + count
    this.#walked.push(start, end, first, count)
    return end
  }

  /** The same as `TokenWalk` for few tokens: sizes and masks come from tables, since branches on sizes are mispredicted. */
  #readTokens(from: number, count: number, first: number): number {
    const { bytes } = this
    const room = this.#room
    const view = this.#view!
    let at = from
    for (let i = 0; i < count; i++) {
      const c = bytes[at] ?? NO_VALUE
      const mask = TOKEN_MASKS[c]!
      at += TOKEN_BYTES[c]!
      if (mask === 0 || at > bytes.length) return -1
      // The array has a head, so there are bytes before its first element.
      room[first + i] = view.getInt32(at - 4) & mask
    }
    return at
  }

  #growRoom(ints: number): void {
    const grown = new Int32Array(Math.max(ints, this.#room.length * 2))
    grown.set(this.#room.subarray(0, this.#roomUsed))
    this.#room = grown
  }

  /** A hash into `#lo`, `#hi`: any integer, or the last 8 of at least 8 bytes. */
  #hash(): boolean {
    const c = this.bytes[this.#at]!
    if (c !== 0xc4 && c !== 0xc5) return this.#integer()
    const wide = c === 0xc5
    const length = wide
      ? (this.bytes[this.#at + 1]! << 8) | this.bytes[this.#at + 2]!
      : this.bytes[this.#at + 1]!
    if (length < 8) return false
    this.#at += (wide ? 3 : 2) + length
    this.#hi = this.#int32(this.#at - 8)
    this.#lo = this.#int32(this.#at - 4)
    return true
  }

  #int32(at: number): number {
    const { bytes } = this
    return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
  }

  /** An integer of up to 64 bits into `#lo`, `#hi`, in two's complement. */
  #integer(): boolean {
    const { bytes } = this
    const at = this.#at
    const c = bytes[at]!
    if (c < 0x80 || c >= 0xe0) {
      this.#lo = (c << 24) >> 24
      this.#hi = this.#lo >> 31
      if (c < 0x80) this.#hi = 0
      this.#at = at + 1
      return true
    }
    switch (c) {
      case 0xcc:
        this.#lo = bytes[at + 1]!
        this.#hi = 0
        this.#at = at + 2
        return true
      case 0xcd:
        this.#lo = (bytes[at + 1]! << 8) | bytes[at + 2]!
        this.#hi = 0
        this.#at = at + 3
        return true
      case 0xce:
        this.#lo = this.#int32(at + 1)
        this.#hi = 0
        this.#at = at + 5
        return true
      case 0xd0:
        this.#lo = (bytes[at + 1]! << 24) >> 24
        this.#hi = this.#lo >> 31
        this.#at = at + 2
        return true
      case 0xd1:
        this.#lo = (((bytes[at + 1]! << 8) | bytes[at + 2]!) << 16) >> 16
        this.#hi = this.#lo >> 31
        this.#at = at + 3
        return true
      case 0xd2:
        this.#lo = this.#int32(at + 1)
        this.#hi = this.#lo >> 31
        this.#at = at + 5
        return true
      case 0xcf:
      case 0xd3:
        this.#hi = this.#int32(at + 1)
        this.#lo = this.#int32(at + 5)
        this.#at = at + 9
        return true
      default:
        return false
    }
  }

  /** A text that is short enough to be a name. */
  #name(): string | undefined {
    const text = this.#text()
    return text !== undefined && text.length <= MAX_NAME_CHARACTERS ? text : undefined
  }

  #text(): string | undefined {
    const length = this.#textHead()
    if (length < 0) return undefined
    const start = this.#at
    this.#at += length
    const text = Buffer.from(this.bytes.buffer, this.bytes.byteOffset + start, length).toString()
    // The few names that come with every event are kept once.
    const known = this.#texts.get(text)
    if (known !== undefined) return known
    if (this.#texts.size < 64 && length < 64) this.#texts.set(text, text)
    return text
  }

  /** Length of a text whose bytes come next; -1 when it is none. */
  #textHead(): number {
    const { bytes } = this
    const c = bytes[this.#at]!
    if ((c & 0xe0) === 0xa0) {
      this.#at += 1
      return c & 31
    }
    if (c === 0xd9) {
      this.#at += 2
      return bytes[this.#at - 1]!
    }
    if (c === 0xda) {
      this.#at += 3
      return (bytes[this.#at - 2]! << 8) | bytes[this.#at - 1]!
    }
    if (c === 0xdb) {
      this.#at += 5
      return this.#int32(this.#at - 4) >>> 0
    }
    return -1
  }

  /** Elements of an array that comes next; -1 when it is none. */
  #arrayHead(): number {
    const c = this.bytes[this.#at]!
    if ((c & 0xf0) === 0x90) {
      this.#at += 1
      return c & 15
    }
    if (c === 0xdc) {
      this.#at += 3
      return (this.bytes[this.#at - 2]! << 8) | this.bytes[this.#at - 1]!
    }
    if (c === 0xdd) {
      this.#at += 5
      return this.#int32(this.#at - 4) >>> 0
    }
    return -1
  }

  #mapHead(): number {
    const c = this.bytes[this.#at]!
    if ((c & 0xf0) === 0x80) {
      this.#at += 1
      return c & 15
    }
    if (c === 0xde) {
      this.#at += 3
      return (this.bytes[this.#at - 2]! << 8) | this.bytes[this.#at - 1]!
    }
    if (c === 0xdf) {
      this.#at += 5
      return this.#int32(this.#at - 4) >>> 0
    }
    return -1
  }

  /** Passes over one value of any kind; false when its bytes are not all there. */
  #skip(): boolean {
    const { bytes } = this
    const { length } = bytes
    let at = this.#at
    let left = 1
    while (left > 0) {
      if (at >= length) return false
      left--
      const c = bytes[at]!
      const size = SCALAR_BYTES[c]!
      if (size > 0) {
        at += size
        continue
      }
      at++
      if (c < 0x90) left += (c & 15) * 2
      else if (c < 0xa0) left += c & 15
      else {
        switch (c) {
          case 0xc4:
          case 0xd9:
            at += 1 + (bytes[at] ?? 0)
            break
          case 0xc5:
          case 0xda:
            at += 2 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0))
            break
          case 0xc6:
          case 0xdb:
            if (at + 4 > length) return false
            at += 4 + (this.#int32(at) >>> 0)
            break
          case 0xc7:
            at += 2 + (bytes[at] ?? 0)
            break
          case 0xc8:
            at += 3 + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0))
            break
          case 0xc9:
            if (at + 4 > length) return false
            at += 5 + (this.#int32(at) >>> 0)
            break
          case 0xdc: {
            const count = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
            at += 2
            const end = this.#walkTokens(at - 3, at, count)
            if (end >= 0) at = end
            else left += count
            break
          }
          case 0xde:
            left += (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)) * 2
            at += 2
            break
          case 0xdd:
          case 0xdf: {
            if (at + 4 > length) return false
            const count = this.#int32(at) >>> 0
            at += 4
            const end = c === 0xdd ? this.#walkTokens(at - 5, at, count) : -1
            if (end >= 0) at = end
            else left += c === 0xdd ? count : count * 2
            break
          }
          default:
            return false
        }
      }
      // Every value takes at least one byte: a count beyond that is a lie.
      if (left > length - at) return false
    }
    if (at > length) return false
    this.#at = at
    return true
  }
}

/** Bytes of a token by its first byte, and which bits of the last four of them are its value: the lowest, or none for no token. */
const TOKEN_BYTES = new Uint8Array(256).fill(1)
const TOKEN_MASKS = new Int32Array(256).fill(0x7f, 0, 0x80)
for (const [head, size, mask] of [
  [0xcc, 2, 0xff],
  [0xcd, 3, 0xffff],
  [0xce, 5, -1],
] as const) {
  TOKEN_BYTES[head] = size
  TOKEN_MASKS[head] = mask
}

/** Bytes of a value by its first byte, where that alone tells: numbers, nil, booleans, short strings, fixed extensions; else 0. */
const SCALAR_BYTES = scalarBytes()

function scalarBytes(): Uint8Array {
  const sizes = new Uint8Array(256).fill(1, 0, 0x80).fill(1, 0xe0)
  for (let c = 0xa0; c < 0xc0; c++) sizes[c] = 1 + (c & 31)
  for (const [size, ...heads] of [
    [1, 0xc0, 0xc2, 0xc3],
    [2, 0xcc, 0xd0],
    [3, 0xcd, 0xd1, 0xd4],
    [4, 0xd5],
    [5, 0xca, 0xce, 0xd2],
    [6, 0xd6],
    [9, 0xcb, 0xcf, 0xd3],
    [10, 0xd7],
    [18, 0xd8],
  ]) {
    for (const head of heads) sizes[head] = size!
  }
  return sizes
}
