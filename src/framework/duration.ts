const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/**
 * Milliseconds of a duration such as `500ms`, `2s`, `1.5m`; a bare number counts nanoseconds, as in Go's JSON.
 *
 * @throws {RangeError} for anything else
 */
export function durationMs(text: string | number): number {
  if (typeof text === 'number') return text / 1e6
  const [, value, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? []
  if (unit === undefined) {
    throw new RangeError(
      `"${text}" is not a duration; write a number and ms, s, m or h, such as 500ms`,
    )
  }
  return Number(value) * UNITS_MS[unit]!
}
