import { createHash, timingSafeEqual } from 'node:crypto'
import { SchedulerError } from '../framework/errors.ts'
import type { Counter, Logger, Metrics, Notices } from '../framework/services.ts'

const NOTICE = 'api-keys-file'
/** Each is compared at every request. */
const MAX_KEYS = 10_000

/** Follows one file; calls nothing after `close`. */
export type WatchFile = (
  path: string,
  listener: { changed(text: string): void; lost(reason: string): void },
  options: { readonly initial: string },
) => { close(): void }

export interface ApiKeyServices {
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  /** Reads the whole file; rejects when it cannot be read or is too large. */
  readonly readText: (path: string) => Promise<string>
  readonly watchFile: WatchFile
}

/** The keys that clients may bring, from a watched file: one on each line, `#` begins a comment. */
export class ApiKeys {
  readonly #path: string
  readonly #services: ApiKeyServices
  readonly #loads: Readonly<Record<'ok' | 'failed', Counter>>
  readonly #watch: { close(): void }
  /** SHA-256 of each. */
  #digests: readonly Buffer[]

  private constructor(
    path: string,
    services: ApiKeyServices,
    text: string,
    digests: readonly Buffer[],
  ) {
    this.#path = path
    this.#services = services
    this.#digests = digests
    const loads = (result: string) =>
      services.metrics.counter(
        'epp_proxy_api_key_loads_total',
        'Readings of the API keys file by result.',
        { result },
      )
    this.#loads = { ok: loads('ok'), failed: loads('failed') }
    this.#loads.ok.inc()
    this.#watch = services.watchFile(
      path,
      { changed: (changed) => this.#reload(changed), lost: (reason) => this.#keep(reason) },
      { initial: text },
    )
  }

  /** @throws {SchedulerError} START_FAILED when the file cannot be read or has no key */
  static async start(path: string, services: ApiKeyServices): Promise<ApiKeys> {
    let text: string
    try {
      text = await services.readText(path)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new SchedulerError(
        'START_FAILED',
        `the API keys file "${path}" cannot be read: ${reason}; give a file with one key on each line`,
        { cause },
      )
    }
    const digests = read(text)
    if (typeof digests === 'string') {
      throw new SchedulerError('START_FAILED', `the API keys file "${path}" ${digests}`)
    }
    return new ApiKeys(path, services, text, digests)
  }

  /** True for the headers of somebody who has a key; takes as long whichever key it is, or none. */
  admits(headers: ReadonlyMap<string, string>): boolean {
    const bearer = /^bearer +(.+)$/i.exec(headers.get('authorization') ?? '')?.[1]
    const given = digest(bearer ?? headers.get('x-api-key') ?? '')
    let found = false
    for (const known of this.#digests) if (timingSafeEqual(known, given)) found = true
    return found
  }

  close(): void {
    this.#watch.close()
  }

  #reload(text: string) {
    const digests = read(text)
    if (typeof digests === 'string') return this.#keep(digests)
    this.#digests = digests
    this.#loads.ok.inc()
    this.#services.notices.set(NOTICE, undefined)
    this.#services.logger.info('API keys taken over', { file: this.#path, keys: digests.length })
  }

  #keep(problem: string): void {
    this.#loads.failed.inc()
    const text = `the changed API keys file "${this.#path}" is not in force: ${problem}; the ${this.#digests.length} keys from before go on`
    this.#services.notices.set(NOTICE, text)
    this.#services.logger.warnOnce(`api-keys ${problem}`, text)
  }
}

/** The digests of a file's keys, or what is wrong with the file; a key is never part of that. */
function read(text: string): readonly Buffer[] | string {
  const keys = text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
  if (keys.length === 0) return 'has no key; write one on each line'
  if (keys.length > MAX_KEYS) return `has ${keys.length} keys, more than the ${MAX_KEYS} allowed`
  const odd = keys.findIndex((key) => !/^[\x21-\x7e]+$/.test(key))
  if (odd >= 0)
    return `has a key (the ${odd + 1}. in the file) that is not printable ASCII without spaces`
  return keys.map(digest)
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
