import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ServerCredentials } from '@grpc/grpc-js'
import { generate } from 'selfsigned'
import { SchedulerError } from '../framework/errors.ts'

/** How the ext_proc port is secured. */
export interface TlsOptions {
  /** False serves plaintext HTTP/2. */
  readonly secureServing: boolean
  /** Folder with `tls.crt` and `tls.key` in PEM; undefined makes a self-signed certificate. */
  readonly certPath: string | undefined
}

const TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000

/**
 * Credentials of the ext_proc port. No gateway checks the certificate (they speak TLS for the sake of privacy), so one
 * made at start serves; a P-256 key takes milliseconds to make.
 *
 * @throws {SchedulerError} START_FAILED when a certificate cannot be read or used
 */
export async function serverCredentials(tls: TlsOptions): Promise<ServerCredentials> {
  if (!tls.secureServing) return ServerCredentials.createInsecure()
  const { certificate, key } =
    tls.certPath === undefined ? await selfSigned() : await fromFolder(tls.certPath)
  try {
    return ServerCredentials.createSsl(null, [{ cert_chain: certificate, private_key: key }])
  } catch (cause) {
    throw new SchedulerError(
      'START_FAILED',
      `the certificate cannot be used: ${messageOf(cause)}`,
      { cause },
    )
  }
}

interface KeyPair {
  readonly certificate: Buffer
  readonly key: Buffer
}

async function fromFolder(folder: string): Promise<KeyPair> {
  const [certificate, key] = await Promise.all([
    readPem(join(folder, 'tls.crt')),
    readPem(join(folder, 'tls.key')),
  ])
  return { certificate, key }
}

async function readPem(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    const text = `cannot read "${file}": ${messageOf(cause)}; --cert-path must name a folder with tls.crt and tls.key`
    throw new SchedulerError('START_FAILED', text, { cause })
  }
}

async function selfSigned(): Promise<KeyPair> {
  const now = Date.now()
  const made = await generate(
    [
      { name: 'commonName', value: 'endpoint-picker' },
      { name: 'organizationName', value: 'endpoint-picker' },
    ],
    {
      keyType: 'ec',
      curve: 'P-256',
      algorithm: 'sha256',
      notBeforeDate: new Date(now),
      notAfterDate: new Date(now + TEN_YEARS_MS),
    },
  )
  return { certificate: Buffer.from(made.cert), key: Buffer.from(made.private) }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
