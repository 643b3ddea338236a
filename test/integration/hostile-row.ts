import assert from 'node:assert/strict'
import type { Conversation, Question } from './conversation.ts'
import { inMebibytes, MEBIBYTE, peakBytes } from './memory.ts'

/** One line of the hostile table: what is sent, and what it may do to the picker. */
export interface HostileRow extends Question {
  readonly body: string | Buffer
  /** What the client is told; undefined where the request is served, not a byte of it changed. */
  readonly refusal?: {
    readonly status: number
    readonly code: string
    readonly message: RegExp
  }
  /** Sample of the metrics page that counts it, by one; of several, one of them does. */
  readonly counter: string | readonly string[]
}

/** Memory that a row may take beyond the most that was taken before it. */
const ROOM_BYTES = 256 * MEBIBYTE
/** And for each byte of its body: held, joined, as text, parsed. */
const ROOM_PER_BODY_BYTE = 8
const SLOW_MS = 200

/** Fails unless the row is answered and counted as it says, within its memory, and the next good request is served. */
export async function withstands(
  picker: Conversation,
  name: string,
  { body, refusal, counter, ...question }: HostileRow,
): Promise<void> {
  const counted = async () => {
    const counts = await Promise.all([counter].flat().map((each) => picker.count(each)))
    return counts.reduce((sum, each) => sum + each, 0)
  }
  const countBefore = await counted()
  const peakBefore = await peakBytes(picker.epp)
  const id = `row-${name}`.replaceAll(/[^\w]/g, '-')
  const startedMs = performance.now()
  const outcome = await picker.ask(body, {
    ...question,
    headers: { 'x-request-id': id, ...question.headers },
  })
  const ms = Math.round(performance.now() - startedMs)
  if (refusal === undefined) {
    assert.ok('destination' in outcome, `refused: ${JSON.stringify(outcome)}`)
    assert.ok(outcome.body.equals(Buffer.from(body)), 'not a byte is changed')
  } else {
    assert.ok('status' in outcome, `it was routed to ${JSON.stringify(outcome).slice(0, 200)}`)
    assert.deepEqual([outcome.status, outcome.error.code], [refusal.status, refusal.code])
    assert.match(outcome.error.message, refusal.message)
    assert.ok(outcome.error.message.length < 500, 'the message is short')
  }
  assert.equal((await counted()) - countBefore, 1, String(counter))
  const grown = (await peakBytes(picker.epp)) - peakBefore
  const room = ROOM_BYTES + ROOM_PER_BODY_BYTE * body.length
  assert.ok(grown <= room, `${inMebibytes(grown)} more were resident than ever before`)
  if (ms > SLOW_MS || grown > ROOM_BYTES / 4) {
    console.log(`        ${name}: ${ms} ms, ${inMebibytes(grown)} more`)
  }
  await picker.serves()
}

/** The counter of requests that were told an error of this code. */
export const refusals = (code: string): string => `epp_extproc_refusals_total{code="${code}"}`
/** The counter of requests that were routed. */
export const ROUTED = 'epp_extproc_exchanges_total{outcome="routed"}'
