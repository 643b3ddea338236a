/** Brings every generated file up to date; with --check, says which are not and fails. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { configSchema } from '../src/config/schema.ts'
import { builtinPlugins } from '../src/plugins/index.ts'
import { apiReport } from './api-report.ts'
import { pluginPage } from './plugin-pages.ts'
import { notices } from './third-party-notices.ts'

const root = join(fileURLToPath(import.meta.url), '..', '..')

/** Every generated file: its path and the text that it should have. */
export function generatedFiles(): readonly { readonly path: string; readonly text: string }[] {
  return [
    {
      path: join(root, 'schemas', 'scheduler-profiles.schema.json'),
      text: `${JSON.stringify(configSchema(builtinPlugins), null, 2)}\n`,
    },
    { path: join(root, 'docs', 'api-report.md'), text: apiReport() },
    { path: join(root, 'THIRD-PARTY-NOTICES'), text: notices() },
    ...builtinPlugins.map(pluginPage),
  ]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const check = process.argv.includes('--check')
  for (const { path, text } of generatedFiles()) {
    if (existsSync(path) && readFileSync(path, 'utf8') === text) continue
    console.log(`${relative(root, path)} ${check ? 'is stale; run npm run generate' : 'written'}`)
    if (check) process.exitCode = 1
    else writeFileSync(path, text)
  }
}
