import type { Counter, Logger, Metrics } from './services.ts'

/** A certificate chain and its key, in PEM. */
export interface KeyPair {
  readonly certificate: Buffer
  readonly privateKey: Buffer
}

/** The certificate that a server shows. */
export interface CertificateSource {
  /** The one to begin with. */
  readonly pair: KeyPair
  /** Calls back with each one after it. Returns a function that ends it. */
  listen(changed: (pair: KeyPair) => void): () => void
}

/** How often the files are read: a mounted Secret changes about a minute after it was edited. */
const READ_MS = 5000

export interface CertificateFilesParts {
  /** Reads the files; rejects when it cannot. */
  readonly read: () => Promise<KeyPair>
  /** Throws for a pair that cannot be used. */
  readonly check: (pair: KeyPair) => void
  readonly logger: Logger
  readonly metrics: Metrics
  /** Time between two looks at the files; 5 s when absent. */
  readonly readMs?: number | undefined
}

/**
 * The certificate of a server, read again and again as long as the server listens.
 *
 * New connections get what the files say, open ones keep what they have. Files that cannot be read, or do not belong
 * together as in the middle of a change, leave the certificate as it was; the log says so once for each reason.
 */
export class CertificateFiles implements CertificateSource {
  readonly #parts: CertificateFilesParts
  readonly #logger: Logger
  readonly #taken: Counter
  readonly #refused: Counter
  readonly #listeners = new Set<(pair: KeyPair) => void>()
  #pair: KeyPair
  #timer: NodeJS.Timeout | undefined

  /** @param pair the first certificate, known to be usable */
  constructor(pair: KeyPair, parts: CertificateFilesParts) {
    this.#pair = pair
    this.#parts = parts
    this.#logger = parts.logger.named('tls')
    const reloads = (result: string) =>
      parts.metrics.counter(
        'epp_certificate_reloads_total',
        'Changed certificates by what became of them.',
        { result },
      )
    this.#taken = reloads('ok')
    this.#refused = reloads('failed')
  }

  get pair(): KeyPair {
    return this.#pair
  }

  listen(changed: (pair: KeyPair) => void): () => void {
    this.#listeners.add(changed)
    this.#timer ??= this.#nextLook()
    return () => {
      this.#listeners.delete(changed)
      if (this.#listeners.size > 0) return
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
  }

  #nextLook(): NodeJS.Timeout {
    return setTimeout(() => void this.#look(), this.#parts.readMs ?? READ_MS).unref()
  }

  async #look(): Promise<void> {
    try {
      const pair = await this.#parts.read()
      if (!same(pair, this.#pair)) {
        this.#parts.check(pair)
        this.#pair = pair
        for (const listener of this.#listeners) listener(pair)
        this.#taken.inc()
        this.#logger.info('certificate taken over')
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#refused.inc()
      this.#logger.warnOnce(
        `certificate ${reason}`,
        'the changed certificate is not in force, the one before goes on',
        { reason },
      )
    }
    if (this.#timer !== undefined) this.#timer = this.#nextLook()
  }
}

function same(a: KeyPair, b: KeyPair): boolean {
  return a.certificate.equals(b.certificate) && a.privateKey.equals(b.privateKey)
}
