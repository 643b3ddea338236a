import type { experimental } from '@grpc/grpc-js'
import type { Counter, Logger, Metrics } from '../framework/services.ts'

/** A certificate chain and its key, in PEM. */
export interface KeyPair {
  readonly certificate: Buffer
  readonly privateKey: Buffer
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
  readonly readMs?: number
}

type Listener = experimental.IdentityCertificateUpdateListener

/**
 * The certificate of a gRPC server, read again and again as long as the server listens.
 *
 * New connections get what the files say, open ones keep what they have. Files that cannot be read, or do not belong
 * together as in the middle of a change, leave the certificate as it was; the log says so once for each reason.
 */
export class CertificateFiles implements experimental.CertificateProvider {
  readonly #parts: CertificateFilesParts
  readonly #logger: Logger
  readonly #taken: Counter
  readonly #refused: Counter
  readonly #listeners = new Set<Listener>()
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

  addIdentityCertificateListener(listener: Listener): void {
    this.#listeners.add(listener)
    // Whoever listens is not ready for an answer before this call ends.
    process.nextTick(() => listener(this.#pair))
    this.#timer ??= this.#nextLook()
  }

  removeIdentityCertificateListener(listener: Listener): void {
    this.#listeners.delete(listener)
    if (this.#listeners.size > 0) return
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Certificates of clients are not asked for. */
  addCaCertificateListener(): void {}
  removeCaCertificateListener(): void {}

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
