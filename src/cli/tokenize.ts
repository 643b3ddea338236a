import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { SchedulerError } from '../framework/errors.ts'
import { positive } from './flag-values.ts'
import type { BodyTokenizerOptions, Tokenized } from './tokenize-body.ts'

interface TokenizeFlags extends BodyTokenizerOptions {
  readonly jsonl?: boolean
  readonly json?: boolean
}

/** The largest body that is read, as `--max-body-mib` of the picker has it. */
const MAX_BODY_BYTES = 64 * 1024 * 1024
/** Ids and keys that lines for people show at most. */
const SHOWN_IDS = 16
const SHOWN_BLOCKS = 4

export function addTokenizeCommand(program: Command): void {
  program
    .command('tokenize')
    .description('show the token ids and block keys of requests, and whether they are the engine’s')
    .argument('[file]', 'a request body as JSON; - reads standard input', '-')
    .option('--jsonl', 'one body a line, answered as it comes')
    .option('--json', 'as JSON, one line for each body')
    .addOption(
      new Option('--tokenizers-dir <dir>', 'one folder per model, or one folder')
        .env('EPP_TOKENIZERS_DIR')
        .makeOptionMandatory(),
    )
    .addOption(
      new Option(
        '--engine-version <release>',
        'the engine’s release, such as 0.32.0; without it ids are exact where all releases agree',
      ).argParser(release),
    )
    .addOption(
      new Option('--block-size <tokens>', 'tokens of one KV block').argParser(positive).default(16),
    )
    .addOption(
      new Option('--hash-algorithm <name>', "the engine's --prefix-caching-hash-algo")
        .choices(['sha256', 'sha256_cbor', 'sha256_cbor_64bit'])
        .default('sha256_cbor'),
    )
    .option('--hash-seed <text>', "the engine's PYTHONHASHSEED", 'vllm-none-hash')
    .option(
      '--model <name>',
      'the model whose folder to use (default: the one that the body names)',
    )
    .addOption(
      new Option('--api <name>', 'whose format the bodies have (default: told by their fields)')
        .choices(['auto', 'chat', 'completions', 'messages', 'responses'])
        .default('auto', 'auto'),
    )
    .option('--trust-request-chat-template', 'render the chat template that a body brings')
    .addHelpText(
      'after',
      `
Block keys are the hashes that the engine's KV events carry for full blocks, in hexadecimal: compare them with the
engine's own where precise routing finds nothing.

Example:
  echo '{"model":"Qwen3-32B","messages":[{"role":"user","content":"Hello!"}]}' |
    epp tokenize --tokenizers-dir ./tokenizers --engine-version 0.32.0 --block-size 4`,
    )
    .action(run)
}

async function run(file: string, flags: TokenizeFlags): Promise<void> {
  const { BodyTokenizer } = await import('./tokenize-body.ts')
  const tokenizer = new BodyTokenizer(flags)
  const name = file === '-' ? 'standard input' : file
  try {
    const input = file === '-' ? process.stdin : createReadStream(file)
    let line = 0
    let failures = 0
    for await (const body of flags.jsonl ? lines(input) : whole(input)) {
      line++
      if (flags.jsonl && body.trim() === '') continue
      const where = flags.jsonl ? `${name}:${line}` : name
      try {
        const tokens = await tokenizer.tokenize(body)
        const text = flags.json ? `${JSON.stringify(tokens)}\n` : shown(tokens, where)
        if (!process.stdout.write(text)) await drained(process.stdout)
      } catch (error) {
        if (!(error instanceof SchedulerError)) throw error
        // A bad line of many does not keep the others from being answered.
        if (!flags.jsonl) throw new SchedulerError(error.code, `${where}: ${error.message}`)
        failures++
        process.stderr.write(`${where}: ${error.message}\n`)
      }
    }
    if (failures > 0) process.exitCode = 1
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException
    if (syscall === undefined) throw error
    throw new SchedulerError('START_FAILED', `${name} cannot be read: ${code}`, { cause: error })
  } finally {
    await tokenizer.close()
  }
}

async function* whole(input: Readable): AsyncIterable<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of input as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) {
      throw new SchedulerError(
        'BODY_TOO_LARGE',
        `the body is larger than ${MAX_BODY_BYTES} bytes; use --jsonl for many bodies`,
      )
    }
    chunks.push(chunk)
  }
  yield Buffer.concat(chunks).toString()
}

function lines(input: Readable): AsyncIterable<string> {
  return createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
}

function drained(out: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => out.once('drain', resolve))
}

/** Lines for people: what counts first, long lists cut. */
function shown(tokens: Tokenized, where: string): string {
  const { count, exact, reason, exactUpTo, prompts, blockSize } = tokens
  const state = exact ? 'exact' : `not exact: ${reason}`
  const until = exactUpTo === undefined ? '' : `; the first ${exactUpTo} are the engine's`
  const out = [`${where}: ${count} tokens, ${state}${until}`]
  for (const { tokenIds, blockKeys } of prompts) {
    out.push(`  tokenIds   ${cut(tokenIds, SHOWN_IDS)}`)
    out.push(`  blockKeys  ${cut(blockKeys, SHOWN_BLOCKS)} (${blockKeys.length} of ${blockSize})`)
  }
  return `${out.join('\n')}\n`
}

function cut(values: readonly unknown[], limit: number): string {
  const more = values.length > limit ? ` … (--json shows all ${values.length})` : ''
  return values.slice(0, limit).join(' ') + more
}

function release(text: string): string {
  if (/^v?\d+\.\d+\.\d+/.test(text)) return text
  throw new InvalidArgumentError(`"${text}" is not a release; write it like 0.32.0.`)
}
