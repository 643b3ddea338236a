/**
 * Tells those who work for a request when nobody waits for it any more.
 *
 * An AbortSignal takes as long to make as a good part of a short request, and few requests need theirs: it is made when it
 * is first asked for.
 */
export class Cancellation {
  #controller: AbortController | undefined
  #reason: unknown
  #isCancelled = false

  /** One that is cancelled with another, too. */
  static following(signal: AbortSignal): Cancellation {
    const cancellation = new Cancellation()
    if (signal.aborted) cancellation.cancel(signal.reason)
    else signal.addEventListener('abort', () => cancellation.cancel(signal.reason), { once: true })
    return cancellation
  }

  get isCancelled(): boolean {
    return this.#isCancelled
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#isCancelled) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** @param reason of the signal; an `AbortError` when absent */
  cancel(reason?: unknown): void {
    if (this.#isCancelled) return
    this.#isCancelled = true
    this.#reason = reason
    this.#controller?.abort(reason)
  }
}
