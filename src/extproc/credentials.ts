import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { generate } from 'selfsigned'
import {
  CertificateFiles,
  type CertificateSource,
  type KeyPair,
} from '../framework/certificate-files.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { Logger, Metrics } from '../framework/services.ts'

/** How the ext_proc port is secured. */
export interface TlsOptions {
  /** False serves plaintext HTTP/2. */
  readonly secureServing: boolean
  /** Folder with `tls.crt` and `tls.key` in PEM; undefined makes a self-signed certificate. */
  readonly certPath: string | undefined
  /** True takes changed files of `certPath` over for new connections; false when absent. */
  readonly enableCertReload?: boolean
}

/** Who is told of a certificate that has changed. */
export interface TlsServices {
  readonly logger: Logger
  readonly metrics: Metrics
}

const TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000

/**
 * The certificate of the ext_proc port; undefined where it serves plaintext. No gateway checks it (they speak TLS for the
 * sake of privacy), so one made at start serves; a P-256 key takes milliseconds to make.
 *
 * @param services needed where certificates are to be reloaded
 * @throws {SchedulerError} START_FAILED when a certificate cannot be read or used
 */
export async function serverCertificate(
  tls: TlsOptions,
  services?: TlsServices,
): Promise<CertificateSource | undefined> {
  const { secureServing, certPath, enableCertReload } = tls
  if (!secureServing) return undefined
  const read = () => (certPath === undefined ? selfSigned() : fromFolder(certPath))
  const pair = await read()
  try {
    checkPair(pair)
  } catch (cause) {
    throw new SchedulerError(
      'START_FAILED',
      `the certificate cannot be used: ${messageOf(cause)}`,
      { cause },
    )
  }
  if (enableCertReload && certPath !== undefined && services !== undefined) {
    return new CertificateFiles(pair, { read, check: checkPair, ...services })
  }
  return { pair, listen: () => () => {} }
}

/** @throws when one of them is not PEM or they do not belong together */
function checkPair({ certificate, privateKey }: KeyPair): void {
  createSecureContext({ cert: certificate, key: privateKey })
}

async function fromFolder(folder: string): Promise<KeyPair> {
  const [certificate, privateKey] = await Promise.all([
    readPem(join(folder, 'tls.crt')),
    readPem(join(folder, 'tls.key')),
  ])
  return { certificate, privateKey }
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
  return { certificate: Buffer.from(made.cert), privateKey: Buffer.from(made.private) }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
