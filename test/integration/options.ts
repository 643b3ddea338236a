import type { ServeOptions } from '../../src/app.ts'

/** What the flags give by default, on free loopback ports and with a log that goes nowhere. */
export function defaultOptions(): ServeOptions {
  return {
    endpoints: [],
    bindAddress: '127.0.0.1',
    grpcPort: 0,
    grpcHealthPort: 0,
    metricsPort: 0,
    kvEventsBind: 'tcp://127.0.0.1:*',
    secureServing: false,
    refreshMetricsInterval: 200,
    requestTimeout: 3_600_000,
    drainTimeout: 0,
    maxBodyMib: 64,
    maxBufferedMib: 1024,
    adminToken: undefined,
    logFormat: 'json',
    logLevel: 'error',
    requestLog: 'off',
    write() {},
  }
}
