// Compiles wasm/token-walk.ts into src/kvcache/events/token-walk-wasm.ts: `npx tsx scripts/build-token-walk.ts`. The compiler is
// fetched for it: nobody else needs its 100 MB.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SOURCE = 'wasm/token-walk.ts'
const TARGET = 'src/kvcache/events/token-walk-wasm.ts'
const folder = mkdtempSync(join(tmpdir(), 'wasm-'))
const binary = join(folder, 'token-walk.wasm')
try {
  execFileSync(
    'npm',
    [
      ...['exec', '--yes', '--package=assemblyscript@0.28.20', '--', 'asc'],
      ...[SOURCE, '-o', binary, '-O3', '--runtime', 'stub', '--noAssert'],
      ...['--enable', 'simd', '--enable', 'bulk-memory', '--use', 'abort='],
      // Below and above what the source lays out itself.
      ...['--memoryBase', '64', '--initialMemory', '3'],
    ],
    { stdio: 'inherit' },
  )
  const sha256 = createHash('sha256').update(readFileSync(SOURCE)).digest('hex')
  writeFileSync(
    TARGET,
    `// Made by scripts/build-token-walk.ts; do not edit.

/** SHA-256 of the ${SOURCE} that this was compiled from. */
export const SOURCE_SHA256 = '${sha256}'

/** The compiled module, in base64. */
export const TOKEN_WALK_WASM =
  '${readFileSync(binary).toString('base64')}'
`,
  )
} finally {
  rmSync(folder, { recursive: true })
}
