import {
  type CST,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  parseAllDocuments,
  parseDocument,
  type YAMLError,
} from 'yaml'
import type { Path, Place } from './problem.ts'
import { offsetInScalar } from './scalar-text.ts'

/** A longer text is not a configuration. */
export const MAX_DOCUMENT_BYTES = 1024 * 1024

/** A longer text of several documents is not read. */
export const MAX_DOCUMENTS_BYTES = 16 * 1024 * 1024

const MAX_FAULTS = 10
/** Composing nodes recurses, and V8 may abort the whole process where the stack ends. */
const MAX_DEPTH = 200
const TOO_DEEP = 'is nested too deeply'

/** The value of a YAML or JSON text, and where each part of it stands. */
export interface YamlDocument {
  /** Plain values; a key without a value is left out. Null when the text is empty, undefined when it has faults. */
  readonly value: unknown
  /** What is wrong with the text itself; its value is then not to be used. */
  readonly faults: readonly (Place & { readonly message: string })[]
  /** Where the value (or its key) stands; for a path that is not there, where the nearest thing around it is. */
  place(path: Path, part: 'key' | 'value'): Place
  /** Where a UTF-16 unit of the text value at `path` stands, such as one within a block scalar. */
  placeIn(path: Path, index: number): Place
}

const OPTIONS = { prettyErrors: false, uniqueKeys: true, merge: true } as const

/** Reads one YAML 1.2 or JSON document. Never throws for what the text holds. */
export function readDocument(text: string): YamlDocument {
  return guarded(text, MAX_DOCUMENT_BYTES, (lineCounter) => [
    parseDocument(text, { ...OPTIONS, lineCounter }),
  ])[0]!
}

/**
 * Reads a text of any number of YAML 1.2 documents, or of one JSON document. Places are those in the whole text. Never
 * throws for what the text holds; a fault that concerns the whole text is that of the one document given.
 */
export function readDocuments(text: string): readonly YamlDocument[] {
  return guarded(text, MAX_DOCUMENTS_BYTES, (lineCounter) => {
    const documents = parseAllDocuments(text, { ...OPTIONS, lineCounter })
    return Array.isArray(documents) ? documents : []
  })
}

function guarded(
  text: string,
  maxBytes: number,
  parse: (lines: LineCounter) => readonly Document.Parsed[],
): readonly YamlDocument[] {
  if (Buffer.byteLength(text) > maxBytes) {
    return [broken(`is larger than ${maxBytes} bytes; split it or remove what is unused`)]
  }
  const lines = new LineCounter()
  try {
    if (isTooDeep(text)) return [broken(TOO_DEEP)]
    const documents = parse(lines)
    return documents.map((document) => documentOf(document, text, lines))
  } catch (error) {
    // The parser refuses documents whose aliases multiply.
    const reason = error instanceof Error ? error.message : String(error)
    return [broken(`cannot be read: ${reason}`)]
  }
}

/** Whether collections stand in each other more than `MAX_DEPTH` deep; the syntax is read without recursion. */
function isTooDeep(text: string): boolean {
  const open: { readonly token: CST.Token; readonly depth: number }[] = []
  for (const token of new Parser().parse(text)) {
    open.push({ token, depth: 0 })
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { depth } = next
      if (depth > MAX_DEPTH) return true
      if ('value' in next.token && next.token.value) open.push({ token: next.token.value, depth })
      if (!('items' in next.token)) continue
      for (const { key, value } of next.token.items) {
        if (key) open.push({ token: key, depth: depth + 1 })
        if (value) open.push({ token: value, depth: depth + 1 })
      }
    }
  }
  return false
}

function broken(message: string): YamlDocument {
  const start: Place = { line: 1, column: 1 }
  return {
    value: undefined,
    faults: [{ ...start, message }],
    place: () => start,
    placeIn: () => start,
  }
}

function documentOf(document: Document.Parsed, text: string, lines: LineCounter): YamlDocument {
  const root = document.contents
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  /** The node at a path, or the nearest one around it, with the offset of its key. */
  const find = (path: Path): { node: Node | null; offset: number; keyOffset: number } => {
    let offset = root?.range?.[0] ?? 0
    let keyOffset = offset
    let node: Node | null = root
    for (const step of path) {
      if (isAlias(node)) node = node.resolve(document) ?? null
      if (isSeq(node) && typeof step === 'number') {
        node = asNode(node.items[step])
      } else if (isMap(node)) {
        const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === step)
        offset = asNode(pair?.key)?.range?.[0] ?? offset
        node = asNode((pair as Pair | undefined)?.value)
      } else return { node: null, offset, keyOffset: offset }
      keyOffset = offset
      if (node === null) return { node, offset, keyOffset }
      offset = node.range?.[0] ?? offset
    }
    return { node, offset, keyOffset }
  }
  const found = [...document.errors, ...document.warnings]
  const faults = found.slice(0, MAX_FAULTS).map((fault) => ({
    ...placeAt(fault.pos[0]),
    message: faultText(fault, text),
  }))
  return {
    value: faults.length > 0 ? undefined : withoutNulls(document.toJS({ maxAliasCount: 100 })),
    faults,
    place(path, part) {
      const { offset, keyOffset } = find(path)
      return placeAt(part === 'key' ? keyOffset : offset)
    },
    placeIn(path, index) {
      const { node, offset } = find(path)
      return placeAt(isScalar(node) ? offsetInScalar(text, node, index) : offset)
    },
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
