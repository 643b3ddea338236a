/** Makes THIRD-PARTY-NOTICES: name, version, licence and licence text of every package that is shipped. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

interface Locked {
  readonly version?: string
  readonly license?: string
  readonly dev?: boolean
  readonly devOptional?: boolean
  readonly os?: readonly string[]
  readonly link?: boolean
}

const root = join(fileURLToPath(import.meta.url), '..', '..')

/** The notices as text; the same on every platform, since packages for one platform only are left out. */
export function notices(): string {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>
  }
  const sections = Object.entries(lock.packages)
    .filter(
      ([path, each]) => path !== '' && !each.dev && !each.devOptional && !each.os && !each.link,
    )
    .map(([path, { version, license }]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
      return `${name} ${version} (${license ?? 'see below'})\n\n${licenceText(join(root, path))}`
    })
  const unique = [...new Set(sections)].sort()
  return `endpoint-picker is distributed with, or installs, the following packages.\n\n${unique.join(`\n${'-'.repeat(80)}\n\n`)}`
}

function licenceText(folder: string): string {
  if (!existsSync(folder)) return 'Not installed on the machine that made this file.\n'
  const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name))
  return file
    ? `${readFileSync(join(folder, file), 'utf8').replaceAll('\r\n', '\n').trim()}\n`
    : 'The package holds no licence file; see its package.json.\n'
}
