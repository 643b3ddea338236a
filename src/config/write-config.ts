import { stringify } from 'yaml'

/** A configuration as YAML, as a person would write it. */
export function writeConfig(config: Readonly<Record<string, unknown>>): string {
  return stringify(config, { lineWidth: 120 })
}
