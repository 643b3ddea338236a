import { join } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { HUBS, type HubName } from '../tokenize/hubs.ts'

interface FetchFlags {
  readonly hub: HubName
  readonly model: string
  readonly name?: string
  readonly revision?: string
  readonly hubUrl?: string
  readonly tokenizersDir: string
  readonly force?: boolean
}

export function addFetchTokenizerCommand(program: Command): void {
  program
    .command('fetch-tokenizer')
    .description("download a model's tokenizer and chat template from a hub")
    .addOption(
      new Option('--hub <hub>', 'where the model is published')
        .choices(Object.keys(HUBS))
        .default('huggingface'),
    )
    .addOption(
      new Option('--model <id>', 'such as Qwen/Qwen3-32B').argParser(modelId).makeOptionMandatory(),
    )
    .addOption(
      new Option(
        '--name <name>',
        'name that the engines serve it under (default: the id)',
      ).argParser(modelId),
    )
    .addOption(new Option('--revision <name>', "branch, tag or commit (default: the hub's main)"))
    .addOption(new Option('--hub-url <url>', 'a mirror of the hub').argParser(httpUrl))
    .addOption(
      new Option('--tokenizers-dir <dir>', 'a folder for the model is made in it')
        .env('EPP_TOKENIZERS_DIR')
        .makeOptionMandatory(),
    )
    .option('--force', 'download again what is there')
    .addHelpText(
      'after',
      '\nA token for private and gated models comes from HF_TOKEN or MODELSCOPE_API_TOKEN, a mirror also from HF_ENDPOINT.' +
        '\n\nExample:\n  epp fetch-tokenizer --model Qwen/Qwen3-32B --name Qwen3-32B --tokenizers-dir ./tokenizers',
    )
    .action(run)
}

async function run(flags: FetchFlags): Promise<void> {
  const { fetchTokenizer, isFetched } = await import('../tokenize/hub.ts')
  const { hub, model, revision, tokenizersDir } = flags
  const folder = folderName(flags.name ?? model)
  const target = join(tokenizersDir, folder)
  if (!flags.force && (await isFetched({ tokenizersDir, folder }))) {
    process.stdout.write(`${target}: already there; --force downloads it again\n`)
    return
  }
  const mirror = hub === 'huggingface' ? process.env.HF_ENDPOINT || undefined : undefined
  const shown = new ProgressLines(process.stdout)
  const files = await fetchTokenizer(
    {
      ...{ hub, model, revision, tokenizersDir, folder },
      hubUrl: flags.hubUrl ?? mirror,
      token: process.env[HUBS[hub].tokenVariable] || undefined,
    },
    (file, bytes, totalBytes) => shown.at(file, bytes, totalBytes),
  ).finally(() => shown.end())
  process.stdout.write(`${target}: ${files.join(', ')}\n`)
}

/** Folders are named as the picker looks for them: `/` of a served name written as `--`. */
function folderName(name: string): string {
  return name.replaceAll('/', '--')
}

function modelId(text: string): string {
  const parts = text.split('/')
  if (parts.every((part) => /^[\w-][\w.-]*$/.test(part)) && text.length <= 200) return text
  throw new InvalidArgumentError(`"${text}" is not a model; write it like Qwen/Qwen3-32B.`)
}

function httpUrl(text: string): string {
  if (/^https?:\/\/[^\s/]+/.test(text) && URL.canParse(text)) return text
  throw new InvalidArgumentError(`"${text}" is not a URL; write it like https://hub.example.`)
}

const BAR_WIDTH = 30
const MEGABYTE = 1e6

/** One line for each file: a bar that grows on a terminal, elsewhere a line when the file is complete. */
class ProgressLines {
  readonly #out: NodeJS.WriteStream
  #file: string | undefined
  #line = ''

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
  }

  at(file: string, bytes: number, totalBytes: number | undefined): void {
    if (file !== this.#file) this.end()
    this.#file = file
    const line = lineOf(file, bytes, totalBytes, this.#out.isTTY)
    if (this.#out.isTTY && line !== this.#line) this.#out.write(`\r${line}`)
    this.#line = line
  }

  end(): void {
    if (this.#file !== undefined) this.#out.write(this.#out.isTTY ? '\n' : `${this.#line}\n`)
    this.#file = undefined
  }
}

function lineOf(
  file: string,
  bytes: number,
  totalBytes: number | undefined,
  withBar: boolean,
): string {
  const size = `${(bytes / MEGABYTE).toFixed(1)} MB`
  if (!withBar || totalBytes === undefined) return `${file}: ${size}`
  const filled = Math.round((BAR_WIDTH * Math.min(bytes, totalBytes)) / totalBytes)
  const bar = '#'.repeat(filled).padEnd(BAR_WIDTH)
  return `${file.padEnd(22)} [${bar}] ${size} of ${(totalBytes / MEGABYTE).toFixed(1)} MB`
}
