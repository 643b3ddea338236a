import type { Learned } from './text-beginnings.ts'
import { UsedNode } from './used-node.ts'

/** Memory of a node besides its text and ids. */
const NODE_BYTES = 150
const ID_BYTES = 4
/** A part that would take a larger share of the memory than one of so many is not remembered, nor what follows it. */
const LARGEST_SHARE = 4

/** Longer texts are told apart by some of their characters before they are compared: to hash them takes longer than that. */
const MAX_HASHED_CHARACTERS = 128
const EDGE_CHARACTERS = 32
/** Texts that are alike in these, and are compared with a new one, the latest first. */
const MAX_COMPARED = 64

const NO_IDS = new Int32Array(0)

/** A text up to the end of one of its parts, and what may follow it. */
class Node extends UsedNode {
  readonly text: string
  /** From the last cut that the parent has to its own. */
  readonly ids: Int32Array
  /** Pieces of text among these. */
  readonly pieces: number
  /** Characters behind the last cut. */
  readonly tail: number
  readonly bytes: number
  /** What came first behind it; most have no other. */
  first: Node | undefined
  others: Map<string, Node[]> | undefined

  constructor(parent: Node | undefined, text: string, { ids, pieces, tail }: Behind) {
    super(parent)
    this.text = text
    this.ids = ids
    this.pieces = pieces
    this.tail = tail
    this.bytes = NODE_BYTES + text.length * 2 + ids.length * ID_BYTES
  }

  /** A text that is the same object as one before is found at once. */
  following(text: string): Node | undefined {
    const { first } = this
    if (first?.text === text) return first
    const alike = this.others?.get(keyOf(text))
    if (alike === undefined) return undefined
    const last = Math.max(0, alike.length - MAX_COMPARED)
    for (let i = alike.length - 1; i >= last; i--) if (alike[i]!.text === text) return alike[i]
    return undefined
  }

  add(node: Node): void {
    if (this.first === undefined) {
      this.first = node
      return
    }
    this.others ??= new Map()
    const key = keyOf(node.text)
    const alike = this.others.get(key)
    if (alike === undefined) this.others.set(key, [node])
    else alike.push(node)
  }

  remove(node: Node): void {
    if (this.first === node) {
      this.first = undefined
      return
    }
    const key = keyOf(node.text)
    const left = this.others!.get(key)!.filter((other) => other !== node)
    if (left.length === 0) this.others!.delete(key)
    else this.others!.set(key, left)
  }
}

/** What a part adds to what stands before it. */
interface Behind {
  readonly ids: Int32Array
  readonly pieces: number
  readonly tail: number
}

/** What is known of a text in parts. */
export interface KnownParts {
  /** Ids up to the last cut that is known, in parts. */
  readonly ids: readonly Int32Array[]
  /** Pieces of text up to there. */
  readonly pieces: number
  /** What comes after it. */
  readonly rest: string
  /** Whether nothing stands before the rest. */
  readonly isWhole: boolean
  readonly node: unknown
  /** How many parts are known; the last of them may reach into the rest. */
  readonly count: number
}

/**
 * The ids of texts that were tokenized and came in parts, such as chats: where a text begins with the same parts as one
 * before, they are found one by one and nobody looks at what is in them. The least recently used goes first.
 */
export class PartBeginnings {
  readonly #root = new Node(undefined, '', { ids: NO_IDS, pieces: 0, tail: 0 })
  readonly #maxBytes: number
  #bytes = 0

  /** @param maxBytes estimated as two bytes a character and four an id */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @param parts none of them empty */
  find(parts: readonly string[]): KnownParts {
    const ids: Int32Array[] = []
    let pieces = 0
    let node = this.#root
    let count = 0
    for (; count < parts.length; count++) {
      const next = node.following(parts[count]!)
      if (next === undefined) break
      node = next
      pieces += node.pieces
      if (node.ids.length > 0) ids.push(node.ids)
    }
    node.touch(this.#root)
    const rest = endOf(parts, count, node.tail)
    return { ids, pieces, rest, isWhole: ids.length === 0, node, count }
  }

  /**
   * Remembers what comes after a beginning that was found.
   *
   * @param cuts in ascending order, their places those in the rest
   */
  learn(parts: readonly string[], known: KnownParts, cuts: readonly Learned[]): void {
    let node = known.node as Node
    // It may have been forgotten since.
    if (node !== this.#root && !node.isInRing) return
    let end = node.tail
    let cut = 0
    for (let i = known.count; i < parts.length; i++) {
      const text = parts[i]!
      end += text.length
      const from = cut
      while (cut < cuts.length && cuts[cut]!.at <= end) cut++
      // Another text with the same beginning may have come meanwhile.
      let next = node.following(text)
      if (next === undefined) {
        const tail = cut > from ? end - cuts[cut - 1]!.at : node.tail + text.length
        next = new Node(node, text, { ...joined(cuts, from, cut), tail })
        if (next.bytes > this.#maxBytes / LARGEST_SHARE) break
        node.add(next)
        this.#bytes += next.bytes
        next.enterRing(this.#root)
      }
      node = next
    }
    node.touch(this.#root)
    this.#evict()
  }

  #evict(): void {
    while (this.#bytes > this.#maxBytes) {
      const node = this.#root.newer
      node.leaveRing()
      this.#bytes -= node.bytes
      node.parent!.remove(node)
    }
  }
}

function keyOf(text: string): string {
  if (text.length <= MAX_HASHED_CHARACTERS) return text
  const middle = text.length >> 1
  return (
    text.slice(0, EDGE_CHARACTERS) +
    text.slice(middle, middle + EDGE_CHARACTERS) +
    text.slice(-EDGE_CHARACTERS)
  )
}

/** The text behind the first `count` parts and the last `tail` characters of those. */
function endOf(parts: readonly string[], count: number, tail: number): string {
  let from = count
  let characters = 0
  while (characters < tail) characters += parts[--from]!.length
  return parts
    .slice(from)
    .join('')
    .slice(characters - tail)
}

function joined(cuts: readonly Learned[], from: number, to: number): Omit<Behind, 'tail'> {
  if (to === from) return { ids: NO_IDS, pieces: 0 }
  let pieces = 0
  let length = 0
  for (let i = from; i < to; i++) {
    pieces += cuts[i]!.pieces
    length += cuts[i]!.ids.length
  }
  const ids = new Int32Array(length)
  let at = 0
  for (let i = from; i < to; i++) {
    ids.set(cuts[i]!.ids, at)
    at += cuts[i]!.ids.length
  }
  return { ids, pieces }
}
