import { createLogger } from '../../src/telemetry/logger.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices } from '../../src/telemetry/notices.ts'

/** The real telemetry, with its log kept. */
export function telemetry() {
  const lines: string[] = []
  const prometheus = new PrometheusMetrics()
  return {
    lines,
    metrics: prometheus,
    notices: createNotices(Date.now),
    logger: createLogger({
      format: 'json',
      level: 'info',
      write: (line) => lines.push(line),
      epochMs: Date.now,
    }),
    /** The value of one series, written as Prometheus prints it; undefined when it is not there. */
    async value(series: string): Promise<number | undefined> {
      const line = (await prometheus.text())
        .split('\n')
        .find((each) => each.startsWith(`${series} `))
      return line === undefined ? undefined : Number(line.slice(series.length + 1))
    },
  }
}

/** Waits until a condition holds, at most `limitMs`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 5000,
): Promise<void> {
  for (const end = performance.now() + limitMs; performance.now() < end; ) {
    if (await condition()) return
    await new Promise((done) => setTimeout(done, 2))
  }
  throw new Error(`still not after ${limitMs} ms: ${what}`)
}
