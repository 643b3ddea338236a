import assert from 'node:assert/strict'
import type { Row } from '../../bench/extproc/load-tool.ts'
import { chunkUs, errorsOf, medianOf, warm } from '../../bench/extproc/rows.ts'

const row = (name: string, epp: string, eppCpuMsPerReq: number, more: Partial<Row> = {}): Row => ({
  ...{
    case: name,
    epp,
    eppCpuMsPerReq,
    requests: 10,
    errors: 0,
    perSecond: 10,
    tokenizingCpuMsPerReq: 0,
  },
  ...{ p50ms: 1, p99ms: 1, firstP50ms: 1, firstP99ms: 1, envoyCpuMsPerReq: 1 },
  ...{ messagesPerReq: 1, scrapesPerSecond: 1, eppPeakRssMB: 1, ...more },
})

describe('bench/extproc/rows', () => {
  it('drops the first run of each picker in each case where there are others', () => {
    const rows = [row('a', 'N', 9), row('a', 'epp', 8), row('a', 'N', 1), row('b', 'N', 7)]
    assert.deepEqual(
      warm(rows).map(({ eppCpuMsPerReq }) => eppCpuMsPerReq),
      [8, 1, 7],
    )
  })

  it('takes medians of the runs in which requests were answered', () => {
    const rows = [3, 1, 2].map((cpu) => row('a', 'N', cpu))
    rows.push(row('a', 'N', 0, { requests: 0, errors: 2, firstError: 'gone' }))
    assert.equal(medianOf(rows, 'a', 'N', 'eppCpuMsPerReq'), 2)
    assert.equal(medianOf([...rows, row('a', 'N', 4)], 'a', 'N', 'eppCpuMsPerReq'), 2.5)
    assert.ok(Number.isNaN(medianOf(rows, 'a', 'epp', 'eppCpuMsPerReq')))
    assert.equal(errorsOf(rows), '2 gone')
  })

  it('reckons a chunk from a case with chunks and one without', () => {
    const rows = [row('a', 'N', 1), row('a/sse100', 'N', 3)]
    assert.equal(chunkUs(rows, 'N', { name: 'a/sse100', base: 'a', chunks: 100 }), 20)
  })
})
