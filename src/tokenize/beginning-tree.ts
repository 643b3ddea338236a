import { ownText } from './own-text.ts'
import { UsedNode } from './used-node.ts'

/** Memory of a node besides its text and value: map slots, list. */
const NODE_BYTES = 400

/** Characters by which texts that continue a beginning are told apart before they are compared. */
const HEAD_CHARACTERS = 32

/** Texts with the same head that are compared with a new one, the latest first. */
const MAX_COMPARED = 64

/** A part that would take a larger share of the memory than one of so many is not remembered, nor what follows it. */
const LARGEST_SHARE = 4

/** A text up to a cut, and what may follow it. */
class Node<T> extends UsedNode {
  /** From the parent's cut to its own. */
  readonly text: string
  readonly value: T
  readonly bytes: number
  /** By the head of their text; those that are shorter than a head have the empty one. */
  readonly next = new Map<string, Node<T>[]>()

  constructor(parent: Node<T> | undefined, text: string, value: T, valueBytes: number) {
    super(parent)
    this.text = text
    this.value = value
    this.bytes = NODE_BYTES + text.length * 2 + valueBytes
  }
}

/** The longest beginning of a text that was seen before. */
export interface FoundBeginning<T> {
  /** Where it ends. */
  readonly end: number
  /** Of each part of it. */
  readonly values: readonly T[]
  readonly node: unknown
}

/** What stands between a cut and the one before it. */
export interface LearnedPart<T> {
  /** Where the cut is in the text. */
  readonly at: number
  readonly value: T
}

/**
 * What is known of the beginnings of texts, as a tree of their parts: a text that goes on from one of them is compared with
 * it, which is many times faster than to read it again. Where a part ends must be told by the text up to there. The least
 * recently used goes first.
 */
export class BeginningTree<T> {
  readonly #root = new Node<T | undefined>(undefined, '', undefined, 0)
  readonly #maxBytes: number
  readonly #bytesOf: (value: T) => number
  #bytes = 0

  /** @param maxBytes estimated as two bytes a character, and `bytesOf` each value */
  constructor(maxBytes: number, bytesOf: (value: T) => number) {
    this.#maxBytes = maxBytes
    this.#bytesOf = bytesOf
  }

  get bytes(): number {
    return this.#bytes
  }

  /** @param from where the text begins */
  find(text: string, from = 0): FoundBeginning<T> {
    const values: T[] = []
    let node = this.#root
    let end = from
    for (
      let next = following(node, text, end);
      next !== undefined;
      next = following(node, text, end)
    ) {
      node = next
      end += node.text.length
      values.push(node.value as T)
    }
    node.touch(this.#root)
    return { end, values, node }
  }

  /**
   * Remembers what comes after a beginning that was found.
   *
   * @param parts in the order of the text
   */
  learn(text: string, { end, node: found }: FoundBeginning<T>, parts: readonly LearnedPart<T>[]) {
    let node = found as Node<T | undefined>
    // It may have been forgotten since.
    if (node !== this.#root && !node.isInRing) return
    let from = end
    for (const { at, value } of parts) {
      let next = following(node, text, from)
      // Another text with the same beginning may have come meanwhile.
      if (next === undefined) {
        const own = kept(text, from, at)
        next = new Node<T | undefined>(node, own, value, this.#bytesOf(value))
        if (next.bytes > this.#maxBytes / LARGEST_SHARE) break
        const head = headOf(own, 0, own.length)
        const others = node.next.get(head)
        if (others === undefined) node.next.set(head, [next])
        else others.push(next)
        this.#bytes += next.bytes
        next.enterRing(this.#root)
      }
      node = next
      from = at
    }
    node.touch(this.#root)
    this.#evict()
  }

  #evict(): void {
    while (this.#bytes > this.#maxBytes) {
      const node = this.#root.newer
      node.leaveRing()
      this.#bytes -= node.bytes
      const { next } = node.parent!
      const head = headOf(node.text, 0, node.text.length)
      const left = next.get(head)!.filter((other) => other !== node)
      if (left.length === 0) next.delete(head)
      else next.set(head, left)
    }
  }
}

/** A part of a text to keep: the text itself stays in memory only where the part is most of it. */
function kept(text: string, from: number, to: number): string {
  const part = text.slice(from, to)
  return part.length > text.length / 2 ? part : ownText(part)
}

/** The part after the node's that stands at `at`; there is one at most, since each ends at the first cut. */
function following<T>(node: Node<T>, text: string, at: number): Node<T> | undefined {
  return (
    standing(node.next.get(headOf(text, at, text.length)), text, at) ??
    standing(node.next.get(''), text, at)
  )
}

function standing<T>(
  nodes: readonly Node<T>[] | undefined,
  text: string,
  at: number,
): Node<T> | undefined {
  if (nodes === undefined) return undefined
  const last = Math.max(0, nodes.length - MAX_COMPARED)
  for (let i = nodes.length - 1; i >= last; i--) {
    const node = nodes[i]!
    // Many times faster than startsWith.
    if (text.slice(at, at + node.text.length) === node.text) return node
  }
  return undefined
}

function headOf(text: string, from: number, to: number): string {
  return to - from < HEAD_CHARACTERS ? '' : text.slice(from, from + HEAD_CHARACTERS)
}
