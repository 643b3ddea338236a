import fc from 'fast-check'

/** Input from outside that is made up, and what must hold whatever it is. */
export interface FuzzTarget {
  /** What the input is. */
  readonly name: string
  readonly inputs: fc.Arbitrary<unknown>
  /** @throws when what must hold does not */
  check(input: never): void | Promise<void>
}

/** A change of some bytes. */
type Edit = readonly ['set' | 'insert' | 'remove' | 'repeat', number, number]

const EDITS = fc.array(
  fc.tuple(fc.constantFrom('set', 'insert', 'remove', 'repeat'), fc.nat(), fc.nat(255)),
  { maxLength: 8 },
) as fc.Arbitrary<readonly Edit[]>

/** Bytes that are nearly right: one of the samples, changed here and there. */
export function nearly(samples: readonly Uint8Array[]): fc.Arbitrary<Buffer> {
  return fc.tuple(fc.constantFrom(...samples), EDITS).map(([sample, edits]) => {
    let bytes = Buffer.from(sample)
    for (const [kind, where, value] of edits) {
      const at = bytes.length === 0 ? 0 : where % bytes.length
      const before = bytes.subarray(0, at)
      if (kind === 'set') {
        bytes = Buffer.from(bytes)
        if (at < bytes.length) bytes[at] = value
      } else if (kind === 'insert')
        bytes = Buffer.concat([before, Buffer.of(value), bytes.subarray(at)])
      else if (kind === 'remove')
        bytes = Buffer.concat([before, bytes.subarray(at + 1 + (value % 16))])
      else bytes = Buffer.concat([before, bytes.subarray(at, at + value), bytes.subarray(at)])
    }
    return bytes
  })
}

/** Keys that could reach a prototype, besides others. */
export const KEYS = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'prototype', 'toString', '', '0'),
  fc.string({ maxLength: 8 }),
)

/** Any JSON value. */
export const JSON_VALUES = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false, '', 0, -1, 1e308, 1.5, Number.MAX_SAFE_INTEGER + 1),
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.double(),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(KEYS, tie('value'), { maxKeys: 4 }),
  ),
})).value

/** @throws when something has been put on the prototype of all objects */
export function assertPrototypeClean(): void {
  const strange = Object.keys(Object.prototype)
  for (const key in {}) strange.push(key)
  if (strange.length > 0) throw new Error(`the prototype of all objects has ${strange}`)
}
