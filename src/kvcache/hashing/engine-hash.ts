import { hash } from 'node:crypto'
import type {
  EngineBlockHash,
  EngineBlockHasher,
  EngineHashAlgorithm,
} from '../../framework/services.ts'
import { xxh3 } from './xxh3.ts'

/**
 * Hashes blocks as vLLM does: `hash([parent, tokens, extras])`, the first parent being the hash of the seed's text
 * (vLLM `v1/core/kv_cache_utils.py`: `hash_block_tokens`, `init_none_hash`; `utils/hashing.py`).
 *
 * `sha256` and `xxhash` pickle (protocol 5), the others encode canonical CBOR (RFC 8949 §4.2.1). The 64-bit form, of vLLM
 * 0.10.0 and 0.10.1, chains the last 8 bytes as an integer.
 *
 * @param seed text of `PYTHONHASHSEED`; without it vLLM 0.30 and later use `vllm-none-hash`
 */
export function createEngineBlockHasher(
  algorithm: EngineHashAlgorithm,
  seed: string,
): EngineBlockHasher {
  const writer =
    algorithm.endsWith('cbor') || algorithm === 'sha256_cbor_64bit'
      ? new CborWriter()
      : new PickleWriter()
  const digestBytes = algorithm.startsWith('xxhash')
    ? xxh3
    : (bytes: Uint8Array) => hash('sha256', bytes, 'buffer')
  const digestOf = (write: () => void): EngineBlockHash => {
    writer.begin()
    write()
    const digest = digestBytes(writer.end())
    const published = digest.readBigUInt64BE(digest.length - 8)
    return { digest: algorithm === 'sha256_cbor_64bit' ? published : digest, published }
  }
  return {
    root: digestOf(() => writer.value(seed)),
    next: (parent, tokens, extras) =>
      digestOf(() => writer.block(parent.digest, tokens, extras === null ? null : extras)),
  }
}

/**
 * The extras that vLLM 0.31 and later hash for a block whose event carries `extraKeys`: each under a tag, the adapter
 * with its path. Earlier versions hash `extraKeys` as they are.
 *
 * @param adapter the block's adapter, whose name is the first of `extraKeys`; undefined for the base model
 */
export function tagExtras(
  extraKeys: readonly unknown[] | null,
  adapter: { readonly name: string; readonly path: string } | undefined,
): readonly unknown[] | null {
  if (extraKeys === null || extraKeys.length === 0) return null
  const tagged: unknown[] = []
  let rest = extraKeys
  if (adapter !== undefined && extraKeys[0] === adapter.name) {
    tagged.push(['lora', adapter.name, adapter.path])
    rest = extraKeys.slice(1)
  }
  for (const extra of rest) {
    if (Array.isArray(extra)) tagged.push(['mm', ...extra])
    else if (extra instanceof Uint8Array) tagged.push(['prompt_embeds', extra])
    else tagged.push(['cache_salt', extra])
  }
  return tagged
}

/** Bytes that grow as they are written and are used again for the next value. */
class ByteWriter {
  protected bytes = Buffer.allocUnsafe(4096)
  protected length = 0

  protected reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + count))
    this.bytes.copy(grown, 0, 0, this.length)
    this.bytes = grown
  }

  protected byte(value: number): void {
    this.reserve(1)
    this.bytes[this.length++] = value
  }

  protected raw(data: Uint8Array): void {
    this.reserve(data.length)
    this.bytes.set(data, this.length)
    this.length += data.length
  }
}

/** Canonical CBOR of null, integers, texts, byte strings and arrays. */
class CborWriter extends ByteWriter {
  begin(): void {
    this.length = 0
  }

  end(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  block(
    parent: Uint8Array | bigint,
    tokens: ArrayLike<number>,
    extras: readonly unknown[] | null,
  ): void {
    this.byte(0x83)
    this.value(parent)
    this.#head(4, tokens.length)
    for (let i = 0; i < tokens.length; i++) this.#head(0, tokens[i]!)
    this.value(extras)
  }

  value(value: unknown): void {
    if (value === null) this.byte(0xf6)
    else if (typeof value === 'number')
      this.#head(value < 0 ? 1 : 0, value < 0 ? -1 - value : value)
    else if (typeof value === 'bigint') this.#bigint(value)
    else if (typeof value === 'string') {
      const text = Buffer.from(value, 'utf8')
      this.#head(3, text.length)
      this.raw(text)
    } else if (value instanceof Uint8Array) {
      this.#head(2, value.length)
      this.raw(value)
    } else if (Array.isArray(value)) {
      this.#head(4, value.length)
      for (const item of value) this.value(item)
    } else {
      throw new TypeError(
        `cannot hash a ${typeof value}; give null, numbers, texts, bytes or arrays`,
      )
    }
  }

  #bigint(value: bigint): void {
    if (value >= 0n && value <= 0xffff_ffffn) {
      this.#head(0, Number(value))
      return
    }
    this.reserve(9)
    this.bytes[this.length++] = 0x1b
    this.bytes.writeBigUInt64BE(BigInt.asUintN(64, value), this.length)
    this.length += 8
  }

  #head(major: number, value: number): void {
    this.reserve(9)
    const { bytes } = this
    const type = major << 5
    if (value < 24) bytes[this.length++] = type | value
    else if (value < 0x100) {
      bytes[this.length++] = type | 24
      bytes[this.length++] = value
    } else if (value < 0x10000) {
      bytes[this.length++] = type | 25
      bytes[this.length++] = value >>> 8
      bytes[this.length++] = value
    } else if (value < 0x1_0000_0000) {
      bytes[this.length++] = type | 26
      this.length = bytes.writeUInt32BE(value, this.length)
    } else {
      bytes[this.length++] = type | 27
      this.length = bytes.writeBigUInt64BE(BigInt(value), this.length)
    }
  }
}

const FRAME_START = 11

/**
 * What CPython's pickle protocol 5 writes for None, ints of 32 bits, texts, bytes and tuples: one frame, every object
 * but ints and None memoized (https://docs.python.org/3/library/pickletools.html). The same text twice in one value
 * would be a reference there; no block holds one.
 */
class PickleWriter extends ByteWriter {
  begin(): void {
    this.bytes.set([0x80, 0x05, 0x95], 0)
    this.length = FRAME_START
  }

  end(): Uint8Array {
    this.byte(0x2e)
    this.bytes.writeBigUInt64LE(BigInt(this.length - FRAME_START), 3)
    return this.bytes.subarray(0, this.length)
  }

  block(
    parent: Uint8Array | bigint,
    tokens: ArrayLike<number>,
    extras: readonly unknown[] | null,
  ): void {
    this.value(parent)
    this.#open(tokens.length)
    for (let i = 0; i < tokens.length; i++) this.#int(tokens[i]!)
    this.#close(tokens.length)
    this.value(extras)
    this.#close(3)
  }

  value(value: unknown): void {
    if (value === null) this.byte(0x4e)
    else if (typeof value === 'number') this.#int(value)
    else if (typeof value === 'string') this.#counted(Buffer.from(value, 'utf8'), 0x8c, 0x58)
    else if (value instanceof Uint8Array) this.#counted(value, 0x43, 0x42)
    else if (Array.isArray(value)) {
      this.#open(value.length)
      for (const item of value) this.value(item)
      this.#close(value.length)
    } else {
      throw new TypeError(
        `cannot hash a ${typeof value}; give null, numbers, texts, bytes or arrays`,
      )
    }
  }

  #int(value: number): void {
    this.reserve(5)
    const { bytes } = this
    if (value >= 0 && value < 0x100) {
      bytes[this.length++] = 0x4b
      bytes[this.length++] = value
    } else if (value >= 0 && value < 0x10000) {
      bytes[this.length++] = 0x4d
      this.length = bytes.writeUInt16LE(value, this.length)
    } else {
      bytes[this.length++] = 0x4a
      this.length = bytes.writeInt32LE(value, this.length)
    }
  }

  #counted(data: Uint8Array, short: number, long: number): void {
    this.reserve(data.length + 6)
    if (data.length < 0x100) {
      this.bytes[this.length++] = short
      this.bytes[this.length++] = data.length
    } else {
      this.bytes[this.length++] = long
      this.length = this.bytes.writeUInt32LE(data.length, this.length)
    }
    this.raw(data)
    this.byte(0x94)
  }

  #open(items: number): void {
    if (items > 3) this.byte(0x28)
  }

  #close(items: number): void {
    if (items === 0) {
      this.byte(0x29)
      return
    }
    this.byte(items > 3 ? 0x74 : 0x84 + items)
    this.byte(0x94)
  }
}
