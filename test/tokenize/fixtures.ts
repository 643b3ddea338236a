import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const FIXTURES = join(import.meta.dirname, '..', 'fixtures')

/** A gzipped JSON file under test/fixtures. */
export function readFixture<T>(...path: string[]): T {
  return JSON.parse(gunzipSync(readFileSync(join(FIXTURES, ...path))).toString()) as T
}

/** A fresh tokenizers directory with Qwen3's tokenizer in a folder for each name given. */
export function tokenizersDir(...folders: string[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'tokenizers-'))
  const source = join(FIXTURES, 'tokenizers', 'qwen3')
  const tokenizer = gunzipSync(readFileSync(join(source, 'tokenizer.json.gz')))
  for (const folder of folders) {
    mkdirSync(join(directory, folder))
    writeFileSync(join(directory, folder, 'tokenizer.json'), tokenizer)
    copyFileSync(
      join(source, 'tokenizer_config.json'),
      join(directory, folder, 'tokenizer_config.json'),
    )
  }
  return directory
}

/** One chat request and the ids that a vLLM engine used for it. */
export interface ChatCase {
  readonly name: string
  readonly request: Readonly<Record<string, unknown>>
  readonly status: number
  readonly prompt_token_ids: readonly number[]
}

export function chatCases(engine: 'vllm-0.32.0' | 'vllm-0.10.0'): readonly ChatCase[] {
  const { cases } = readFixture<{ cases: readonly ChatCase[] }>('chat-tokens', `${engine}.json.gz`)
  return cases
}
