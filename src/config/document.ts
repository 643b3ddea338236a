import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLError,
} from 'yaml'
import type { Path, Place } from './problem.ts'

/** A longer text is not a configuration. */
export const MAX_DOCUMENT_BYTES = 1024 * 1024

const MAX_FAULTS = 10
const TOO_DEEP = 'is nested too deeply'

/** The value of a YAML or JSON text, and where each part of it stands. */
export interface YamlDocument {
  /** Plain values; a key without a value is left out. Null when the text is empty, undefined when it has faults. */
  readonly value: unknown
  /** What is wrong with the text itself; its value is then not to be used. */
  readonly faults: readonly (Place & { readonly message: string })[]
  /** Where the value (or its key) stands; for a path that is not there, where the nearest thing around it is. */
  place(path: Path, part: 'key' | 'value'): Place
}

/** Reads one YAML 1.2 or JSON document. Never throws for what the text holds. */
export function readDocument(text: string): YamlDocument {
  const start: Place = { line: 1, column: 1 }
  const broken = (message: string): YamlDocument => ({
    value: undefined,
    faults: [{ ...start, message }],
    place: () => start,
  })
  if (Buffer.byteLength(text) > MAX_DOCUMENT_BYTES) {
    return broken(`is larger than ${MAX_DOCUMENT_BYTES} bytes; split it or remove what is unused`)
  }

  const lines = new LineCounter()
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  try {
    const document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: true,
      merge: true,
    })
    const found = [...document.errors, ...document.warnings]
    // The parser reports its own overflow as one fault among the many that follow from it.
    if (found.some(({ message }) => message.includes('call stack'))) return broken(TOO_DEEP)
    const faults = found.slice(0, MAX_FAULTS).map((fault) => ({
      ...placeAt(fault.pos[0]),
      message: faultText(fault, text),
    }))
    const root = document.contents
    return {
      value: faults.length > 0 ? undefined : withoutNulls(document.toJS({ maxAliasCount: 100 })),
      faults,
      place(path, part) {
        let offset = root?.range?.[0] ?? 0
        let node: Node | null = root
        for (const [depth, step] of path.entries()) {
          if (isAlias(node)) node = node.resolve(document) ?? null
          if (isSeq(node) && typeof step === 'number') {
            node = asNode(node.items[step])
          } else if (isMap(node)) {
            const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === step)
            offset = asNode(pair?.key)?.range?.[0] ?? offset
            if (part === 'key' && depth === path.length - 1) return placeAt(offset)
            node = asNode((pair as Pair | undefined)?.value)
          } else break
          if (node === null) break
          offset = node.range?.[0] ?? offset
        }
        return placeAt(offset)
      },
    }
  } catch (error) {
    // The parser recurses, and refuses documents whose aliases multiply.
    return broken(
      error instanceof RangeError
        ? TOO_DEEP
        : `cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

function asNode(value: unknown): Node | null {
  return isNode(value) ? value : null
}

function faultText(fault: YAMLError, text: string): string {
  switch (fault.code) {
    case 'DUPLICATE_KEY': {
      const key = /^["']?([^\s:"']*)/.exec(text.slice(fault.pos[0], fault.pos[0] + 100))?.[1] ?? ''
      return `duplicate key "${key}"; keep one of them`
    }
    case 'MULTIPLE_DOCS':
      return 'a second document begins here; a file holds one'
    default:
      return `not YAML: ${fault.message.charAt(0).toLowerCase()}${fault.message.slice(1)}`
  }
}

/** Go's decoders, for which existing files were written, take a key without a value as absent. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null)
      .map(([key, inner]) => [key, withoutNulls(inner)]),
  )
}
