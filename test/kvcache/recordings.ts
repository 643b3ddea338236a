import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

/** One ZMQ message as an engine sent it. */
export interface RecordedMessage {
  readonly topic: string
  readonly sequence: number
  /** Topic, sequence, payload. */
  readonly frames: readonly [Buffer, Buffer, Buffer]
  /** Rank whose socket it came on; undefined with one rank. */
  readonly src: number | undefined
}

/** One request as it was sent, and what the engine said of it. */
export interface RecordedRequest {
  readonly i: number
  readonly group: string
  readonly name: string
  readonly path: string
  readonly request: { readonly model?: string; readonly cache_salt?: string }
  readonly request_headers?: Readonly<Record<string, string>>
  readonly t_send: number
  readonly t_end: number
  readonly status: number
  readonly prompt_token_ids?: readonly number[]
  readonly usage?: { readonly prompt_tokens_details?: unknown } | null
  readonly cached_tokens?: number | null
  /** Messages that had been received before it was sent. */
  readonly event_count_before: number
}

/** A request that can be judged: what was cached of its prompt must be what the index predicts. */
export interface JudgedRequest {
  readonly recorded: RecordedRequest
  readonly tokens: readonly number[]
  readonly cachedTokens: number
  /** The header `x-data-parallel-rank`; undefined when the request named none. */
  readonly rank: string | undefined
}

export interface Recording {
  readonly name: string
  readonly messages: readonly RecordedMessage[]
  readonly requests: readonly RecordedRequest[]
  readonly judged: readonly JudgedRequest[]
}

const folder = fileURLToPath(new URL('../fixtures/vllm-recordings/', import.meta.url))

export function recordingNames(): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()
}

function readLines<T>(name: string, file: string): T[] {
  return gunzipSync(readFileSync(join(folder, name, file)))
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T)
}

/**
 * Loads one recording. Judged are the requests that were alone and succeeded, but for the first after a reset (its event
 * comes with the next step only) and, with two ranks, those whose header names none.
 */
export function loadRecording(name: string): Recording {
  const messages = readLines<{
    topic: string
    seq: number
    seq_b64: string
    payload_b64: string
    src?: number
  }>(name, 'events.jsonl.gz').map(
    ({ topic, seq, seq_b64, payload_b64, src }): RecordedMessage => ({
      topic,
      sequence: seq,
      frames: [
        Buffer.from(topic),
        Buffer.from(seq_b64, 'base64'),
        Buffer.from(payload_b64, 'base64'),
      ],
      src,
    }),
  )
  const requests = readLines<RecordedRequest>(name, 'requests.jsonl.gz')
  const resetAt = firstAfterReset(requests)
  const judged: JudgedRequest[] = []
  for (const recorded of requests) {
    const tokens = recorded.prompt_token_ids
    const cachedTokens = reportedTokens(recorded)
    const rank = recorded.request_headers?.['X-data-parallel-rank']
    if (recorded.status !== 200 || cachedTokens === undefined || !tokens?.length) continue
    if (!isAlone({ requests }, recorded) || recorded === resetAt) continue
    if (name.endsWith('-dp2') && rank === undefined) continue
    judged.push({ recorded, tokens, cachedTokens, rank })
  }
  return { name, messages, requests, judged }
}

/** True when no other request was under way at the same time. */
export function isAlone(
  { requests }: Pick<Recording, 'requests'>,
  recorded: RecordedRequest,
): boolean {
  return requests.every(
    (other) =>
      other === recorded || other.t_send >= recorded.t_end || recorded.t_send >= other.t_end,
  )
}

/** What the engine said was cached of the prompt; 0.10.0 leaves it out when nothing was. */
export function reportedTokens({ cached_tokens, usage }: RecordedRequest): number | undefined {
  if (typeof cached_tokens === 'number') return cached_tokens
  return usage && usage.prompt_tokens_details === null ? 0 : undefined
}

/** The request of the group that follows POST /reset_prefix_cache. */
function firstAfterReset(requests: readonly RecordedRequest[]): RecordedRequest | undefined {
  return requests.find(({ group }) => group === 'after-reset')
}
