/** The conditions under which the picker is ready, and who wants to know of changes. */
export class Readiness {
  readonly #conditions = new Map<string, { ok: boolean; detail: string }>()
  readonly #listeners = new Set<() => void>()

  /** Sets one condition; all must hold. */
  set(name: string, ok: boolean, detail: string): void {
    const before = this.ready()
    this.#conditions.set(name, { ok, detail })
    if (this.ready() !== before) for (const changed of this.#listeners) changed()
  }

  ready(): boolean {
    return [...this.#conditions.values()].every(({ ok }) => ok)
  }

  list(): readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[] {
    return [...this.#conditions].map(([name, condition]) => ({ name, ...condition }))
  }

  /** Calls `changed` after each change of `ready()`. Returns a function that ends it. */
  listen(changed: () => void): () => void {
    this.#listeners.add(changed)
    return () => this.#listeners.delete(changed)
  }
}
