import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import type { KeyPair } from '../framework/certificate-files.ts'
import { SchedulerError } from '../framework/errors.ts'

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
  const [certificate, privateKey] = await Promise.all([read('tls.crt'), read('tls.key')])
  try {
    createSecureContext({ cert: certificate, key: privateKey })
  } catch (cause) {
    const text = `the certificate in "${folder}" cannot be used: ${(cause as Error).message}`
    throw new SchedulerError('START_FAILED', text, { cause })
  }
  return { certificate, privateKey }
}
