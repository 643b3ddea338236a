import { seededRandom } from '../../framework/random.ts'
import { Draw } from './draw.ts'
import type { Workload } from './workload.ts'

/** Tokens behind one of a trace's hashes (https://github.com/kvcache-ai/Mooncake, FAST25-release/traces). */
export const TRACE_BLOCK_TOKENS = 512

/** One request of a trace. */
export interface TraceEntry {
  readonly atMs: number
  readonly promptTokens: number
  readonly answerTokens: number
  /** One per begun block of 512 prompt tokens; equal ids are equal tokens. */
  readonly hashIds: readonly number[]
}

const MAX_ENTRIES = 1_000_000
const MAX_TOKENS = 10_000_000
const MAX_PROBLEMS = 10
const DEFAULT_ENGINES = 8
/** The share of a trace's time that warms caches up. */
const WARM_UP_SHARE = 0.2

/** What is wrong with a trace, line by line. */
export class TraceError extends Error {
  override readonly name = 'TraceError'
}

/**
 * Reads a trace in Mooncake's form: a JSON object per line with `timestamp` in milliseconds, `input_length`,
 * `output_length` and `hash_ids`. Empty lines are left out.
 *
 * @param file how messages name it
 * @throws {TraceError} naming every bad line, ten at most
 */
export function parseTrace(text: string, file: string): readonly TraceEntry[] {
  const entries: TraceEntry[] = []
  const problems: string[] = []
  let bad = 0
  let last = 0
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const entry = entryOf(line, last)
    if (typeof entry === 'string') {
      bad++
      if (problems.length < MAX_PROBLEMS) problems.push(`${file}:${i + 1}: ${entry}`)
      continue
    }
    last = entry.atMs
    entries.push(entry)
    if (entries.length > MAX_ENTRIES) {
      throw new TraceError(`${file} has more than ${MAX_ENTRIES} requests; cut it`)
    }
  }
  if (bad > MAX_PROBLEMS) problems.push(`and ${bad - MAX_PROBLEMS} more lines`)
  if (bad === 0 && entries.length === 0) problems.push(`${file} has no requests`)
  if (problems.length > 0) throw new TraceError(problems.join('\n'))
  return entries
}

/** The trace as a workload that comes `rate` times as fast. Token ids follow from the hashes, answers from the seed. */
export function traceWorkload(entries: readonly TraceEntry[], rate: number): Workload {
  const firstMs = entries[0]!.atMs
  const horizonMs = (entries.at(-1)!.atMs - firstMs) / rate + 1
  return {
    name: 'trace',
    engines: DEFAULT_ENGINES,
    warmUpMs: horizonMs * WARM_UP_SHARE,
    horizonMs,
    start(load) {
      const answers = load.draw(1)
      for (const entry of entries) {
        const atMs = (entry.atMs - firstMs) / rate
        if (atMs >= load.horizonMs) return
        load.at(atMs, () =>
          load.send({ prompt: promptOf(entry), answer: answers.tokens(entry.answerTokens) }),
        )
      }
    },
  }
}

/** @param lastMs no line may be earlier */
function entryOf(line: string, lastMs: number): TraceEntry | string {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    return `not JSON: ${(error as Error).message}`
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'not an object'
  const { timestamp, input_length, output_length, hash_ids } = value as Record<string, unknown>
  if (typeof timestamp !== 'number' || !(timestamp >= 0)) {
    return `timestamp must be milliseconds from 0 on, got ${shown(timestamp)}`
  }
  if (timestamp < lastMs)
    return `timestamp ${timestamp} is before the line above, ${lastMs}; sort the file`
  if (!isLength(input_length))
    return `input_length must be from 1 to ${MAX_TOKENS}, got ${shown(input_length)}`
  if (!isLength(output_length))
    return `output_length must be from 1 to ${MAX_TOKENS}, got ${shown(output_length)}`
  const blocks = Math.ceil(input_length / TRACE_BLOCK_TOKENS)
  if (!Array.isArray(hash_ids) || !hash_ids.every((id) => Number.isSafeInteger(id) && id >= 0)) {
    return `hash_ids must be whole numbers from 0 on, got ${shown(hash_ids)}`
  }
  if (hash_ids.length !== blocks) {
    return `hash_ids has ${hash_ids.length} entries where ${input_length} tokens have ${blocks} blocks of ${TRACE_BLOCK_TOKENS}`
  }
  return {
    atMs: timestamp,
    promptTokens: input_length,
    answerTokens: output_length,
    hashIds: hash_ids,
  }
}

function isLength(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_TOKENS
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 60)
}

/** The last block is cut where the prompt ends. */
function promptOf({ promptTokens, hashIds }: TraceEntry): Int32Array {
  const prompt = new Int32Array(hashIds.length * TRACE_BLOCK_TOKENS)
  for (const [i, id] of hashIds.entries()) {
    const block = prompt.subarray(i * TRACE_BLOCK_TOKENS, (i + 1) * TRACE_BLOCK_TOKENS)
    new Draw(seededRandom(id % 2 ** 32)).fill(block, 0)
  }
  return prompt.subarray(0, promptTokens)
}
