import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Draw } from '../../../src/sim/simulation/draw.ts'
import { parseTrace, TraceError, traceWorkload } from '../../../src/sim/simulation/trace.ts'
import type { SimulatedRequest } from '../../../src/sim/simulation/workload.ts'

const TRACE = readFileSync('test/fixtures/traces/mooncake-form.jsonl', 'utf8')

function refusal(text: string): string {
  try {
    parseTrace(text, 't.jsonl')
  } catch (error) {
    assert.ok(error instanceof TraceError)
    return error.message
  }
  return ''
}

const line = (fields: object) =>
  JSON.stringify({ timestamp: 0, input_length: 600, output_length: 5, hash_ids: [1, 2], ...fields })

describe('parseTrace', () => {
  it("reads Mooncake's lines", () => {
    const entries = parseTrace(TRACE, 't.jsonl')
    assert.equal(entries.length, 40)
    assert.deepEqual(entries[0], {
      atMs: 0,
      promptTokens: 6755,
      answerTokens: 50,
      hashIds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    })
  })

  for (const [name, text, message] of [
    ['no JSON', 'x', /^t\.jsonl:1: not JSON/],
    ['no object', '[1]', /^t\.jsonl:1: not an object$/],
    ['a time that is none', line({ timestamp: '0' }), /timestamp must be milliseconds.*got "0"/],
    ['no prompt', line({ input_length: 0 }), /input_length must be from 1 to 10000000, got 0/],
    ['half a token', line({ output_length: 1.5 }), /output_length must be .*got 1\.5/],
    ['a monstrous prompt', line({ input_length: 1e12 }), /input_length must be from 1/],
    ['hashes that are none', line({ hash_ids: [1, 'x'] }), /hash_ids must be whole numbers/],
    [
      'too few hashes',
      line({ hash_ids: [1] }),
      /hash_ids has 1 entries where 600 tokens have 2 blocks of 512/,
    ],
    ['nothing', '\n\n', /^t\.jsonl has no requests$/],
    [
      'a line out of order',
      `${line({ timestamp: 9 })}\n${line({ timestamp: 8 })}`,
      /^t\.jsonl:2: timestamp 8 is before the line above, 9; sort the file$/,
    ],
  ] as const) {
    it(`refuses ${name}`, () => assert.match(refusal(text), message))
  }

  it('names every bad line, ten at most', () => {
    const lines = refusal(Array(13).fill('x').join('\n')).split('\n')
    assert.equal(lines.length, 11)
    assert.equal(lines.at(-1), 'and 3 more lines')
  })
})

describe('traceWorkload', () => {
  const sentAt = (rate: number) => {
    const sent: { atMs: number; request: SimulatedRequest }[] = []
    const workload = traceWorkload(parseTrace(TRACE, 't.jsonl'), rate)
    const later: [number, () => void][] = []
    let nowMs = 0
    workload.start({
      horizonMs: workload.horizonMs,
      nowMs: () => nowMs,
      at: (atMs, run) => later.push([atMs, run]),
      send: (request) => sent.push({ atMs: nowMs, request }),
      draw: (stream) => Draw.of(1, stream),
    })
    for (const [atMs, run] of later) {
      nowMs = atMs
      run()
    }
    return sent
  }

  it('makes equal tokens of equal hashes, and other ones of others', () => {
    const sent = sentAt(1)
    assert.equal(sent.length, 40)
    const [a, b] = [sent[0]!.request.prompt, sent[1]!.request.prompt]
    assert.equal(a.length, 6755)
    // Both begin with the same block.
    assert.deepEqual(a.subarray(0, 512), b.subarray(0, 512))
    assert.notDeepEqual(a.subarray(512, 1024), b.subarray(512, 1024))
  })

  it('comes as much faster as its rate says', () => {
    assert.equal(sentAt(4).at(-1)!.atMs, sentAt(1).at(-1)!.atMs / 4)
  })
})
