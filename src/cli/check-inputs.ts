import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { MAX_DOCUMENTS_BYTES } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'
import { SchedulerError } from '../framework/errors.ts'

/** A text to be checked. */
export interface InputText {
  /** As messages name it; `stdin` for standard input. */
  readonly file: string
  readonly text: string
  /** True when it was named itself, not found in a folder. */
  readonly named: boolean
}

/** What the arguments of `epp check` lead to. */
export interface Inputs {
  readonly texts: readonly InputText[]
  readonly problems: readonly Problem[]
}

const READ = /\.(?:ya?ml|json)$/
const SKIPPED = new Set(['node_modules'])

/**
 * Reads files, folders (every YAML and JSON file in them and below) and standard input (`-`).
 *
 * @throws {SchedulerError} CONFIG_INVALID when an argument cannot be read
 */
export function readInputs(names: readonly string[]): Inputs {
  const texts: InputText[] = []
  const problems: Problem[] = []
  for (const name of names) {
    try {
      if (name !== '-' && statSync(name).isDirectory()) readFolder(name, texts, problems)
      else texts.push({ file: name === '-' ? 'stdin' : name, text: readText(name), named: true })
    } catch (error) {
      if (error instanceof SchedulerError) throw error
      const reason = (error as Error).message
      throw new SchedulerError('CONFIG_INVALID', `${name} cannot be read: ${reason}`, {
        cause: error,
      })
    }
  }
  return { texts, problems }
}

function readFolder(folder: string, texts: InputText[], problems: Problem[]): void {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  )
  if (entries.some(({ name }) => name === 'Chart.yaml')) {
    problems.push({
      ...{ severity: 'warning', file: join(folder, 'Chart.yaml'), line: 1, column: 1, path: '' },
      message: `is a Helm chart, whose templates are not looked at; render it first: helm template NAME ${folder} | epp check -`,
    })
    return
  }
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.name.startsWith('.') || SKIPPED.has(entry.name)) continue
    if (entry.isDirectory()) readFolder(path, texts, problems)
    else if (entry.isFile() && READ.test(entry.name)) {
      texts.push({ file: path, text: readText(path), named: false })
    }
  }
}

/** @throws {SchedulerError} CONFIG_INVALID when it is too large to be a manifest */
function readText(name: string): string {
  const bytes = name === '-' ? 0 : statSync(name).size
  if (bytes <= MAX_DOCUMENTS_BYTES) return readFileSync(name === '-' ? 0 : name, 'utf8')
  throw new SchedulerError(
    'CONFIG_INVALID',
    `${name} has ${bytes} bytes; at most ${MAX_DOCUMENTS_BYTES} are read: split it`,
  )
}
