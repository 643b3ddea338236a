/** A metric by its name, and the labels that its series must have. */
export interface MetricSelector {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL = /^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("?)([^",{}]*)\2\s*$/

/**
 * Reads `name` or `name{label=value,...}`, the form in which GIE's flags name a metric; values may stand in quotes.
 *
 * @throws {RangeError} for anything else
 */
export function parseMetricSelector(text: string): MetricSelector {
  const [, name = '', inner] = /^([^{]*)(?:\{(.*)\})?$/.exec(text.trim()) ?? []
  const labels: Record<string, string> = {}
  let valid = NAME.test(name)
  for (const pair of inner?.trim() ? inner.split(',') : []) {
    const [, label, , value] = LABEL.exec(pair) ?? []
    if (label === undefined) valid = false
    else labels[label] = value!
  }
  if (valid) return { name, labels }
  throw new RangeError(`"${text}" is not a metric; write NAME or NAME{LABEL=VALUE,...}`)
}
