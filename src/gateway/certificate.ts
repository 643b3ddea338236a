import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { SchedulerError } from '../framework/errors.ts'
import type { Logger, Metrics } from '../framework/services.ts'

/** A certificate chain and its key, in PEM. */
export interface KeyPair {
  readonly cert: Buffer
  readonly key: Buffer
}

/**
 * The pair in a folder's `tls.crt` and `tls.key`.
 *
 * @throws {SchedulerError} START_FAILED when it cannot be read, or the two do not belong together
 */
export async function readKeyPair(folder: string): Promise<KeyPair> {
  const read = async (name: string) => {
    const file = join(folder, name)
    try {
      return await readFile(file)
    } catch (cause) {
      throw new SchedulerError(
        'START_FAILED',
        `cannot read "${file}": ${(cause as Error).message}; the certificate's folder must have tls.crt and tls.key`,
        { cause },
      )
    }
  }
  const [cert, key] = await Promise.all([read('tls.crt'), read('tls.key')])
  try {
    createSecureContext({ cert, key })
  } catch (cause) {
    const text = `the certificate in "${folder}" cannot be used: ${(cause as Error).message}`
    throw new SchedulerError('START_FAILED', text, { cause })
  }
  return { cert, key }
}

/**
 * Reads the files every `readMs`, and hands on the pair whenever the files have changed to another good one; a bad one leaves the last in force.
 *
 * @returns a function that ends it
 */
export function followKeyPair(
  folder: string,
  first: KeyPair,
  readMs: number,
  services: { readonly logger: Logger; readonly metrics: Metrics },
  taken: (pair: KeyPair) => void,
): () => void {
  const reloads = (result: string) =>
    services.metrics.counter(
      'epp_certificate_reloads_total',
      'Changed certificates by what became of them.',
      { result },
    )
  const counters = { ok: reloads('ok'), failed: reloads('failed') }
  let last = first
  let stopped = false
  let timer: NodeJS.Timeout
  const look = async () => {
    try {
      const pair = await readKeyPair(folder)
      if (!stopped && !(pair.cert.equals(last.cert) && pair.key.equals(last.key))) {
        last = pair
        taken(pair)
        counters.ok.inc()
        services.logger.info('certificate taken over')
      }
    } catch (error) {
      counters.failed.inc()
      const reason = (error as Error).message
      const text = 'the changed certificate is not in force, the one before goes on'
      services.logger.warnOnce(`certificate ${reason}`, text, { reason })
    }
    if (!stopped) plan()
  }
  const plan = () => {
    timer = setTimeout(() => void look(), readMs).unref()
  }
  plan()
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}
