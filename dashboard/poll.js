/** @typedef {import('../src/admin/overview.ts').Overview} Overview */

/**
 * How it stands with the picker: `sinceMs` is when it answered last (`lost`), or when it was paused.
 *
 * @typedef {{ kind: 'live' } | { kind: 'lost' | 'paused', sinceMs: number | undefined, why: string }
 *   | { kind: 'token' | 'refused', why: string }} Connection
 */

const EVERY_MS = 1000
const TIMEOUT_MS = 8000
/** An answer that takes longer is missed. */
const LATE_MS = 3000
const TOKEN = 'endpoint-picker-token'

/** An answer that is no page. */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** @param {string} token */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token)
}

/**
 * A page of the admin port, with the token where there is one.
 *
 * @param {string} path
 * @returns {Promise<any>}
 * @throws {Refused} when the answer is not 200
 */
export async function ask(path) {
  const token = sessionStorage.getItem(TOKEN)
  const response = await fetch(path, {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  if (response.ok) return response.json()
  const body = await response.json().catch(() => ({}))
  throw new Refused(response.status, String(body.error ?? `HTTP ${response.status}`))
}

/** Asks for the overview each second, one request at a time, and only while somebody can see the page. */
export class Poll {
  /** @type {(overview: Overview) => Promise<void>} */
  #show
  /** @type {(connection: Connection) => void} */
  #tell
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #asking = false
  #paused = false
  #afterSecond = 0
  /** @type {number | undefined} */
  #answeredMs

  /**
   * @param {(overview: Overview) => Promise<void>} show
   * @param {(connection: Connection) => void} tell
   */
  constructor(show, tell) {
    this.#show = show
    this.#tell = tell
    document.addEventListener('visibilitychange', () => this.now())
  }

  get isPaused() {
    return this.#paused
  }

  /** @param {boolean} paused */
  pause(paused) {
    this.#paused = paused
    if (paused) {
      clearTimeout(this.#timer)
      this.#tell({ kind: 'paused', sinceMs: this.#answeredMs, why: '' })
    } else void this.now()
  }

  /** Asks at once, unless it is asking already or nobody looks. */
  async now() {
    clearTimeout(this.#timer)
    if (this.#asking || this.#paused || document.hidden) return
    this.#asking = true
    try {
      await this.#ask()
    } finally {
      this.#asking = false
    }
  }

  async #ask() {
    const late = setTimeout(() => this.#lost('no answer yet'), LATE_MS)
    try {
      /** @type {Overview} */
      const overview = await ask(`/overview?after=${this.#afterSecond}`)
      this.#answeredMs = Date.now()
      if (this.#paused) return
      this.#afterSecond = overview.seconds.at(-1)?.second ?? this.#afterSecond
      await this.#show(overview)
      if (!this.#paused) this.#tell({ kind: 'live' })
    } catch (error) {
      if (!this.#failed(error)) return
    } finally {
      clearTimeout(late)
    }
    if (!this.#paused) this.#timer = setTimeout(() => this.now(), EVERY_MS)
  }

  /**
   * @param {unknown} error
   * @returns {boolean} whether to ask again
   */
  #failed(error) {
    const why = wordsOf(error)
    const isRefused = error instanceof Refused && (error.status === 401 || error.status === 403)
    if (isRefused) this.#tell({ kind: error.status === 401 ? 'token' : 'refused', why })
    else this.#lost(why)
    return !isRefused
  }

  /** @param {string} why */
  #lost(why) {
    if (!this.#paused) this.#tell({ kind: 'lost', sinceMs: this.#answeredMs, why })
  }
}

/** @param {unknown} error */
function wordsOf(error) {
  if (error instanceof DOMException && error.name === 'TimeoutError') {
    return `no answer within ${TIMEOUT_MS / 1000} s`
  }
  // What browsers say of a connection that fails is different in each of them.
  if (error instanceof TypeError && /fetch|network|load/i.test(error.message))
    return 'no connection'
  return error instanceof Error ? error.message : String(error)
}
