import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const QWEN3 = 'test/fixtures/tokenizers/qwen3'
let tokenizers: string | undefined

/** A tokenizers directory with one folder, `qwen3`, unpacked once per test run. */
export function tokenizersDir(): string {
  if (tokenizers !== undefined) return tokenizers
  const folder = mkdtempSync(join(tmpdir(), 'epp-tokenizers-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(join(folder, 'qwen3'))
  copyFileSync(join(QWEN3, 'tokenizer_config.json'), join(folder, 'qwen3', 'tokenizer_config.json'))
  writeFileSync(
    join(folder, 'qwen3', 'tokenizer.json'),
    gunzipSync(readFileSync(join(QWEN3, 'tokenizer.json.gz'))),
  )
  tokenizers = folder
  return folder
}

/** A request body of the documents as `curl -d @file` sends it: line ends stripped. */
export function documentBody(name: 'round1' | 'round2'): string {
  return readFileSync(`config/demo/${name}.txt`, 'utf8').replaceAll(/[\r\n]/g, '')
}
