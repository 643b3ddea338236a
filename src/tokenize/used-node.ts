/**
 * A node of a tree that forgets what is least recently used. All nodes but the root are in a ring by their last use, which
 * begins and ends at the root: what goes first comes right after it. A node comes later than all that follow it in the tree.
 */
export class UsedNode {
  readonly parent: this | undefined
  older: this = this
  newer: this = this

  /** @param parent undefined for the root; the node is in no ring yet */
  constructor(parent: UsedNode | undefined) {
    this.parent = parent as this | undefined
  }

  get isInRing(): boolean {
    return this.older !== this
  }

  leaveRing(): void {
    this.older.newer = this.newer
    this.newer.older = this.older
    this.older = this.newer = this
  }

  /** Becomes the most recently used one of the ring of `root`. */
  enterRing(root: this): void {
    this.older = root.older
    this.newer = root
    root.older.newer = this
    root.older = this
  }

  /** Makes this node and those before it the most recently used, it first. */
  touch(root: this): void {
    for (let node: this | undefined = this; node !== undefined; node = node.parent) {
      if (node === root) return
      node.leaveRing()
      node.enterRing(root)
    }
  }
}
