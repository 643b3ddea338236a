/** Memory of a node besides its text and ids: map slots, list, array header. */
const NODE_BYTES = 400
const ID_BYTES = 4

/** Characters by which texts that continue a beginning are told apart before they are compared. */
const HEAD_CHARACTERS = 32

/** Texts with the same head that are compared with a new one, the latest first. */
const MAX_COMPARED = 64

/** A piece that would take a larger share of the memory than one of so many is not remembered, nor what follows it. */
const LARGEST_SHARE = 4

/** A text up to a cut, and what may follow it. */
class Node {
  readonly parent: Node | undefined
  /** From the parent's cut to its own. */
  readonly text: string
  readonly ids: Int32Array
  /** Pieces of text among them. */
  readonly pieces: number
  /** By the head of their text; those that are shorter than a head have the empty one. */
  readonly next = new Map<string, Node[]>()

  constructor(parent: Node | undefined, text: string, ids: Int32Array, pieces: number) {
    this.parent = parent
    this.text = text
    this.ids = ids
    this.pieces = pieces
  }

  get bytes(): number {
    return NODE_BYTES + this.text.length * 2 + this.ids.length * ID_BYTES
  }
}

/** The longest beginning of a text that was seen before. */
export interface Beginning {
  /** Where it ends. */
  readonly end: number
  /** Its ids, in parts. */
  readonly ids: readonly Int32Array[]
  /** Pieces of text in it. */
  readonly pieces: number
  readonly node: unknown
}

/** What stands between a cut and the one before it. */
export interface Learned {
  /** Where the cut is in the text. */
  readonly at: number
  readonly ids: Int32Array
  /** Pieces of text. */
  readonly pieces: number
}

/**
 * The ids of texts that were tokenized, as a tree of their pieces: a text that goes on from one of them is compared with it,
 * which is many times faster than to cut it into pieces and look each of them up. The least recently used goes first.
 */
export class TextBeginnings {
  readonly #root = new Node(undefined, '', new Int32Array(0), 0)
  readonly #maxBytes: number
  /** The least recently used first. A node stands behind all that follow it. */
  readonly #recent = new Set<Node>()
  #bytes = 0

  /** @param maxBytes estimated as two bytes a character and four an id */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  find(text: string): Beginning {
    const ids: Int32Array[] = []
    let node = this.#root
    let end = 0
    let pieces = 0
    for (
      let next = following(node, text, 0);
      next !== undefined;
      next = following(node, text, end)
    ) {
      node = next
      end += node.text.length
      pieces += node.pieces
      ids.push(node.ids)
    }
    this.#touch(node)
    return { end, ids, pieces, node }
  }

  /**
   * Remembers what comes after a beginning that was found.
   *
   * @param text without halves of surrogate pairs
   * @param cuts in ascending order
   */
  learn(text: string, { end, node: found }: Beginning, cuts: readonly Learned[]): void {
    let node = found as Node
    // It may have been forgotten since.
    if (node !== this.#root && !this.#recent.has(node)) return
    let from = end
    for (const { at, ids, pieces } of cuts) {
      let next = following(node, text, from)
      // Another text with the same beginning may have come meanwhile.
      if (next === undefined) {
        // A slice of a prompt keeps the whole prompt in memory.
        const own = Buffer.from(text.slice(from, at)).toString()
        next = new Node(node, own, ids, pieces)
        if (next.bytes > this.#maxBytes / LARGEST_SHARE) break
        const head = headOf(own, 0, own.length)
        const others = node.next.get(head)
        if (others === undefined) node.next.set(head, [next])
        else others.push(next)
        this.#bytes += next.bytes
        this.#recent.add(next)
      }
      node = next
      from = at
    }
    this.#touch(node)
    this.#evict()
  }

  /** Makes the node and those before it the most recently used, it first. */
  #touch(last: Node): void {
    for (
      let node: Node | undefined = last;
      node !== undefined && node !== this.#root;
      node = node.parent
    ) {
      this.#recent.delete(node)
      this.#recent.add(node)
    }
  }

  #evict(): void {
    for (const node of this.#recent) {
      if (this.#bytes <= this.#maxBytes) return
      this.#recent.delete(node)
      this.#bytes -= node.bytes
      const { next } = node.parent!
      const head = headOf(node.text, 0, node.text.length)
      const left = next.get(head)!.filter((other) => other !== node)
      if (left.length === 0) next.delete(head)
      else next.set(head, left)
    }
  }
}

/** The text after the node's that stands at `at`; there is one at most, since each ends at the first cut. */
function following(node: Node, text: string, at: number): Node | undefined {
  return (
    standing(node.next.get(headOf(text, at, text.length)), text, at) ??
    standing(node.next.get(''), text, at)
  )
}

function standing(nodes: readonly Node[] | undefined, text: string, at: number): Node | undefined {
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
