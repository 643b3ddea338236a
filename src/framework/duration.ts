const UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/**
 * Milliseconds of a duration in Go's form, such as `500ms`, `1.5m`, `1m30s`, `0`; a bare number counts nanoseconds, as in
 * Go's JSON.
 *
 * @throws {RangeError} for anything else
 */
export function durationMs(text: string | number): number {
  if (typeof text === 'number') return text / 1e6
  if (text === '0') return 0
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    throw new RangeError(
      `"${text}" is not a duration; write a number and ms, s, m or h, such as 500ms or 1m30s`,
    )
  }
  return parts.reduce((sum, [, value, unit]) => sum + Number(value) * UNITS_MS[unit!]!, 0)
}
