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
  /** The request as it stands in the file, which tells how numbers were written. */
  readonly json: string
  readonly status: number
  readonly prompt_token_ids: readonly number[]
}

export function chatCases(engine: 'vllm-0.32.0' | 'vllm-0.10.0'): readonly ChatCase[] {
  const file = readFileSync(join(FIXTURES, 'chat-tokens', `${engine}.json.gz`))
  const text = gunzipSync(file).toString()
  const { cases } = JSON.parse(text) as { cases: readonly Omit<ChatCase, 'json'>[] }
  const jsons = [...text.matchAll(/^ {3}"request": (\{.*?^ {3}\})/gms)].map(([, json]) => json!)
  return cases.map((one, i) => ({ ...one, json: jsons[i]! }))
}

/**
 * A fresh tokenizers directory with a tokenizer in each folder that is read in a moment: one id a byte, `<s>` and `</s>`
 * around a message, and a template of one line.
 */
export function byteTokenizersDir(...folders: string[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'tokenizers-'))
  const printable = (byte: number): boolean =>
    (byte > 32 && byte < 127) || (byte > 160 && byte !== 173 && byte < 256)
  const vocab: Record<string, number> = {}
  let others = 0
  for (let byte = 0; byte < 256; byte++) {
    vocab[String.fromCharCode(printable(byte) ? byte : 256 + others++)] = byte
  }
  const added = (id: number, content: string): object => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: false,
    trim_offsets: false,
    use_regex: false,
  }
  const tokenizer = {
    version: '1.0',
    added_tokens: [added(256, '<s>'), added(257, '</s>')],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: { type: 'BPE', vocab, merges: [] },
  }
  const chat_template =
    "{% for m in messages %}<s>{{ m.role + ':' + m.content }}</s>{% endfor %}{% if add_generation_prompt %}<s>a:{% endif %}"
  for (const folder of folders) {
    mkdirSync(join(directory, folder))
    writeFileSync(join(directory, folder, 'tokenizer.json'), JSON.stringify(tokenizer))
    writeFileSync(
      join(directory, folder, 'tokenizer_config.json'),
      JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', chat_template }),
    )
  }
  return directory
}
