import { FileWatch, readText } from '../config/file-watch.ts'
import type { Limits } from '../framework/limits.ts'
import type { GatewayServices } from '../gateway/gateway.ts'
import { type Gateway, startGateway } from '../gateway/gateway.ts'

/** How the embedded proxy listens and whom it admits. */
export interface ProxyOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Folder with `tls.crt` and `tls.key`; plain HTTP when absent. */
  readonly certPath?: string
  /** Keys of which clients must bring one; everybody is admitted when absent. */
  readonly apiKeysFile?: string
  /** How often a request is sent again whose endpoint broke before it answered. */
  readonly retries: number
  /** Longest time until an engine begins to answer, in milliseconds. */
  readonly engineTimeoutMs: number
}

/** Limits that the proxy has in common with the ext_proc port. */
export interface ProxyLimits extends Limits {
  readonly maxBodyBytes: number
  readonly maxBufferedBytes: number
  readonly enableCertReload: boolean
}

const MAX_KEYS_FILE_BYTES = 1024 * 1024

/** @throws as `startGateway` */
export function startProxy(
  { certPath, apiKeysFile, engineTimeoutMs, ...options }: ProxyOptions,
  limits: ProxyLimits,
  services: GatewayServices,
): Promise<Gateway> {
  return startGateway(services, {
    ...limits,
    ...options,
    engineHeadersTimeoutMs: engineTimeoutMs,
    ...(certPath !== undefined && { tls: { certPath, reload: limits.enableCertReload } }),
    ...(apiKeysFile !== undefined && {
      apiKeys: {
        file: apiKeysFile,
        readText: (path: string) => readText(path, MAX_KEYS_FILE_BYTES),
        watchFile: (path, listener, watch) => new FileWatch(path, listener, watch),
      },
    }),
  })
}
