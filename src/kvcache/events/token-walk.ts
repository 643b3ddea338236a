import { endianness } from 'node:os'
import { TOKEN_WALK_WASM } from './token-walk-wasm.ts'

/** Where the compiled code expects the bytes, how many, and where it leaves the tokens (wasm/token-walk.ts). */
const INPUT = 4096
const MAX_INPUT = 16_384
const TOKENS = 71_680
const MAX_TOKEN_BYTES = 5

/** What of it is used here; TypeScript's library has it among what browsers have. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: unknown }
  readonly CompileError: new () => Error
}

/** What the compiled code offers. */
interface Walk {
  readonly memory: { readonly buffer: ArrayBuffer }
  prepare(): void
  walk(length: number, count: number): number
}

/**
 * Reads arrays of tokens out of msgpack. Their sizes differ at random, so that who reads one after the other mostly waits;
 * the compiled code looks at 16 bytes at once.
 */
export class TokenWalk {
  readonly #code: Walk
  readonly #input: Uint8Array
  readonly #tokens: Int32Array

  constructor(code: Walk) {
    code.prepare()
    this.#code = code
    this.#input = new Uint8Array(code.memory.buffer, INPUT, MAX_INPUT)
    this.#tokens = new Int32Array(code.memory.buffer, TOKENS, MAX_INPUT)
  }

  /**
   * Reads `count` elements of an array, the first of which is at `from`.
   *
   * @param room where they go, from number `first` on
   * @returns where they end; -1 where one of them is no integer of at most 32 bits without a sign, or is not there
   */
  read(bytes: Uint8Array, from: number, count: number, room: Int32Array, first: number): number {
    let at = from
    for (let read = 0; read < count; ) {
      const most = Math.min(MAX_INPUT, (count - read) * MAX_TOKEN_BYTES)
      const part = bytes.subarray(at, at + most)
      this.#input.set(part)
      const answer = this.#code.walk(part.length, count - read)
      const tokens = answer & 0xffff
      if (answer < 0 || tokens === 0) return -1
      room.set(this.#tokens.subarray(0, tokens), first + read)
      read += tokens
      at += answer >>> 16
    }
    return at
  }
}

let shared: TokenWalk | undefined
let isTried = false

/** The one of this process; undefined where such code does not run. */
export function tokenWalk(): TokenWalk | undefined {
  if (!isTried) {
    isTried = true
    shared = load()
  }
  return shared
}

function load(): TokenWalk | undefined {
  // Tokens are read as this machine's numbers.
  if (endianness() !== 'LE') return undefined
  try {
    const module = new WebAssembly.Module(Buffer.from(TOKEN_WALK_WASM, 'base64'))
    return new TokenWalk(new WebAssembly.Instance(module).exports as Walk)
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) return undefined
    throw error
  }
}
