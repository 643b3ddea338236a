import type { Notices } from './services.ts'

/** The notices of one configuration generation: they go when it is replaced, and nothing that it does later brings one back. */
export class NoticeScope implements Notices, Disposable {
  readonly #notices: Notices
  readonly #keys = new Set<string>()
  #ended = false

  constructor(notices: Notices) {
    this.#notices = notices
  }

  set(key: string, text: string | undefined): void {
    if (this.#ended) return
    this.#notices.set(key, text)
    if (text === undefined) this.#keys.delete(key)
    else this.#keys.add(key)
  }

  list(): ReturnType<Notices['list']> {
    return this.#notices.list().filter(({ key }) => this.#keys.has(key))
  }

  [Symbol.dispose](): void {
    for (const key of this.#keys) this.#notices.set(key, undefined)
    this.#keys.clear()
    this.#ended = true
  }
}
