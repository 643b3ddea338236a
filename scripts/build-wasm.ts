// Compiles wasm/*.ts into modules of src/: `npm run build:wasm`. The compiler is fetched for it: nobody else needs its 100 MB.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Pages of memory lie below and above what each source lays out itself. */
const MODULES = [
  { source: 'wasm/body-scan.ts', target: 'src/openai/body-scan-wasm.ts', pages: 8 },
  { source: 'wasm/token-walk.ts', target: 'src/kvcache/events/token-walk-wasm.ts', pages: 3 },
]

const folder = mkdtempSync(join(tmpdir(), 'wasm-'))
const binary = join(folder, 'module.wasm')
try {
  for (const { source, target, pages } of MODULES) {
    execFileSync(
      'npm',
      [
        ...['exec', '--yes', '--package=assemblyscript@0.28.20', '--', 'asc'],
        ...[source, '-o', binary, '-O3', '--runtime', 'stub', '--noAssert'],
        ...['--enable', 'simd', '--enable', 'bulk-memory', '--use', 'abort='],
        ...['--memoryBase', '64', '--initialMemory', String(pages)],
      ],
      { stdio: 'inherit' },
    )
    const sha256 = createHash('sha256').update(readFileSync(source)).digest('hex')
    const name = source.replace('wasm/', '').replace('.ts', '').replace('-', '_').toUpperCase()
    writeFileSync(
      target,
      `// Made by scripts/build-wasm.ts; do not edit.

/** SHA-256 of the ${source} that this was compiled from. */
export const SOURCE_SHA256 = '${sha256}'

/** The compiled module, in base64. */
export const ${name}_WASM =
  '${readFileSync(binary).toString('base64')}'
`,
    )
  }
} finally {
  rmSync(folder, { recursive: true })
}
