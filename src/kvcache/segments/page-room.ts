/**
 * Which pages have free pieces, for memory that is made of pages of equal pieces. Free pieces are taken from the lowest
 * page that has some, so that the others run empty; a page that is empty can be dropped and its number used again.
 */
export class PageRoom {
  readonly #pieces: number
  // By page: the first of its freed pieces, 0 for none, and the first that was never used.
  readonly #freed: number[] = []
  readonly #fresh: number[] = []
  readonly #isClosed: boolean[] = []
  readonly #dropped: number[] = []
  #lowest = 0

  /** @param pieces of each page */
  constructor(pieces: number) {
    this.#pieces = pieces
  }

  /** The number for a new page. */
  add(): number {
    const page = this.#dropped.pop() ?? this.#freed.length
    this.#freed[page] = 0
    // Piece 0 of page 0 is never used, since 0 means none.
    this.#fresh[page] = page === 0 ? 1 : 0
    this.#isClosed[page] = false
    if (page < this.#lowest) this.#lowest = page
    return page
  }

  /** A page with a free piece; -1 when there is none. */
  find(): number {
    for (; this.#lowest < this.#freed.length; this.#lowest++) {
      const page = this.#lowest
      if (this.#isClosed[page]) continue
      if (this.#freed[page] !== 0 || this.#fresh[page]! < this.#pieces) return page
    }
    return -1
  }

  /** The piece of the page that was freed last; 0 when none was: then `takeFresh` has one. */
  freed(page: number): number {
    return this.#freed[page]!
  }

  /** Sets the piece that `freed` answers; who calls keeps the list of those after it. */
  setFreed(page: number, piece: number): void {
    this.#freed[page] = piece
    if (page < this.#lowest) this.#lowest = page
  }

  /** Position in its page of the first piece that was never used, which is used from now on. */
  takeFresh(page: number): number {
    return this.#fresh[page]!++
  }

  /** Pieces of the page that were used ever: none behind them is. */
  reached(page: number): number {
    return this.#fresh[page]!
  }

  isClosed(page: number): boolean {
    return this.#isClosed[page]!
  }

  /** Takes no more pieces of a page that is to run empty. */
  close(page: number): void {
    this.#isClosed[page] = true
  }

  /** Takes pieces of it again. */
  open(page: number): void {
    this.#isClosed[page] = false
    if (page < this.#lowest) this.#lowest = page
  }

  /** An empty page is gone. */
  drop(page: number): void {
    this.#isClosed[page] = true
    this.#freed[page] = 0
    this.#fresh[page] = 0
    this.#dropped.push(page)
  }
}
