import { createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Dispatcher, EnvHttpProxyAgent, interceptors, request } from 'undici'
import { SchedulerError } from '../framework/errors.ts'
import { ChatTemplate } from './chat/chat-template.ts'
import { HUBS, type HubName } from './hubs.ts'
import { readTokenizerConfig, TOKENIZER_FILE, TokenizerFile } from './tokenizer-file.ts'

/** What a tokenizer's folder may hold; the last one makes it a tokenizer's folder. */
const FILES = [
  { name: 'chat_template.jinja', required: false },
  { name: 'tokenizer_config.json', required: false },
  { name: TOKENIZER_FILE, required: true },
] as const

/** The largest vocabularies of today take 35 MB. */
const MAX_FILE_BYTES = 512 * 1024 * 1024
const MAX_REDIRECTS = 5
const TRANSIENT_CODES = [
  ...['ECONNRESET', 'ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETDOWN', 'ENETUNREACH'],
  ...['EHOSTDOWN', 'EHOSTUNREACH', 'EPIPE', 'ETIMEDOUT', 'UND_ERR_SOCKET'],
  ...['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'],
]

export interface FetchOptions {
  readonly hub: HubName
  /** Such as `Qwen/Qwen3-32B`. */
  readonly model: string
  /** Branch, tag or commit; the hub's main branch when absent. */
  readonly revision?: string | undefined
  /** Another address of the hub, such as a mirror's. */
  readonly hubUrl?: string | undefined
  /** Never logged, and never sent to another host. */
  readonly token?: string | undefined
  readonly tokenizersDir: string
  /** Folder under `tokenizersDir`. */
  readonly folder: string
  /** Wait before the first of five retries, which doubles; 500 when absent. */
  readonly retryMs?: number
}

/** Told of one file while it is fetched: `totalBytes` undefined where the hub does not say. */
export type FetchProgress = (file: string, bytes: number, totalBytes: number | undefined) => void

/** Whether the folder holds a tokenizer. */
export async function isFetched({
  tokenizersDir,
  folder,
}: Pick<FetchOptions, 'tokenizersDir' | 'folder'>): Promise<boolean> {
  try {
    return (await stat(join(tokenizersDir, folder, TOKENIZER_FILE))).isFile()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw unwritable(tokenizersDir, error)
  }
}

/**
 * Fetches a model's tokenizer and chat template into its folder. Each file appears whole, `tokenizer.json` as the last
 * one, after it has been loaded once; several processes may do this at the same time.
 *
 * @returns names of the files that the model has
 * @throws {SchedulerError} START_FAILED, saying which URL answered what, and what to do
 */
export async function fetchTokenizer(
  options: FetchOptions,
  progress: FetchProgress,
): Promise<readonly string[]> {
  const { tokenizersDir, folder } = options
  // One level deeper than tokenizers lie: a picker that reads the directory meanwhile does not see it.
  const parts = await made(tokenizersDir, async () => {
    await mkdir(tokenizersDir, { recursive: true })
    return mkdtemp(join(tokenizersDir, '.fetch-'))
  })
  const agent = new EnvHttpProxyAgent({
    connect: { timeout: 10_000 },
    headersTimeout: 30_000,
    bodyTimeout: 30_000,
  })
  const dispatcher = agent.compose(
    interceptors.redirect({ maxRedirections: MAX_REDIRECTS }),
    interceptors.retry({
      maxRetries: 5,
      minTimeout: options.retryMs ?? 500,
      errorCodes: TRANSIENT_CODES,
    }),
  )
  try {
    const part = join(parts, 'files')
    await mkdir(part)
    const fetched: string[] = []
    for (const { name, required } of FILES) {
      const url = fileUrl(options, name)
      const file = join(part, name)
      if (await fetchFile(url, file, { options, dispatcher, required, progress, name })) {
        fetched.push(name)
      }
    }
    checkLoads(part, options)
    await moveInto(join(tokenizersDir, folder), part, fetched)
    return fetched
  } finally {
    await agent.destroy()
    await rm(parts, { recursive: true, force: true })
  }
}

function fileUrl({ hub, hubUrl, model, revision }: FetchOptions, file: string): string {
  const { url, prefix, revision: main } = HUBS[hub]
  const path = model.split('/').map(encodeURIComponent).join('/')
  const base = (hubUrl ?? url).replace(/\/+$/, '')
  return `${base}/${prefix}${path}/resolve/${encodeURIComponent(revision ?? main)}/${file}`
}

interface Fetch {
  readonly options: FetchOptions
  readonly dispatcher: Dispatcher
  readonly required: boolean
  readonly progress: FetchProgress
  readonly name: string
}

/** @returns false when the hub does not have a file that is not required */
async function fetchFile(url: string, path: string, fetch: Fetch): Promise<boolean> {
  const { options, dispatcher, required, progress, name } = fetch
  const { token, hub } = options
  let response: Dispatcher.ResponseData
  try {
    response = await request(url, {
      dispatcher,
      headers: { 'user-agent': 'endpoint-picker', ...(token && HUBS[hub].headers(token)) },
    })
  } catch (error) {
    throw unreached(url, error)
  }
  const { statusCode, headers, body } = response
  if (statusCode !== 200) {
    await body.dump({ limit: 1024 * 1024 })
    if (statusCode === 404 && !required) return false
    throw refused(url, statusCode, options)
  }
  const totalBytes = Number(headers['content-length']) || undefined
  let bytes = 0
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > MAX_FILE_BYTES) {
        throw new SchedulerError(
          'START_FAILED',
          `${url} has more than ${MAX_FILE_BYTES} bytes, which no tokenizer has; check --model and --hub-url`,
        )
      }
      progress(name, bytes, totalBytes)
      yield chunk
    }
  }
  try {
    await pipeline(body, counted, createWriteStream(path))
  } catch (error) {
    if (error instanceof SchedulerError) throw error
    const { code = '' } = error as NodeJS.ErrnoException
    throw ['ENOSPC', 'EDQUOT', 'EIO'].includes(code)
      ? unwritable(options.tokenizersDir, error)
      : unreached(url, error)
  }
  return true
}

/** @throws {SchedulerError} START_FAILED when the picker could not use the files */
function checkLoads(part: string, options: FetchOptions): void {
  try {
    new TokenizerFile(part)
    ChatTemplate.read(part, readTokenizerConfig(part))
  } catch (error) {
    throw new SchedulerError(
      'START_FAILED',
      `what ${fileUrl(options, TOKENIZER_FILE)} and its neighbours answer is no tokenizer that can be used: ${(error as Error).message}; leave the model's tokens to the engines' own /tokenize`,
      { cause: error },
    )
  }
}

/** Files of an earlier fetch that the model no longer has go. */
async function moveInto(target: string, part: string, fetched: readonly string[]): Promise<void> {
  await made(target, async () => {
    await mkdir(target, { recursive: true })
    for (const { name } of FILES) {
      if (fetched.includes(name)) await rename(join(part, name), join(target, name))
      else await rm(join(target, name), { force: true })
    }
  })
}

async function made<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw unwritable(folder, error)
  }
}

function unwritable(folder: string, cause: unknown): SchedulerError {
  const text = `cannot write to ${folder}: ${(cause as Error).message}; --tokenizers-dir must name a writable folder with room`
  return new SchedulerError('START_FAILED', text, { cause })
}

/** After all retries. */
function unreached(url: string, cause: unknown): SchedulerError {
  const { statusCode, code, message } = cause as {
    statusCode?: number
    code?: string
    message: string
  }
  const said = statusCode === undefined ? `fails: ${code ?? message}` : `answers ${statusCode}`
  const text = `${url} ${said}, also when asked again; check the network, HTTPS_PROXY, or name a mirror with --hub-url`
  return new SchedulerError('START_FAILED', text, { cause })
}

function refused(url: string, status: number, { hub, token }: FetchOptions): SchedulerError {
  const { tokenVariable } = HUBS[hub]
  const advice: Readonly<Record<number, string>> = {
    401: token
      ? `the token in ${tokenVariable} is not accepted, or the model does not exist`
      : `the model does not exist, is private or is gated; set ${tokenVariable} to a token that may read it`,
    403: `the token in ${tokenVariable} may not read the model; ask for access on the model's page`,
    404: 'there is no such model, revision or file; check --model and --revision, or leave its tokens to the engines',
  }
  const text = `${url} answers ${status}: ${advice[status] ?? 'check --hub-url'}`
  return new SchedulerError('START_FAILED', text)
}
