import assert from 'node:assert/strict'
import { endpoint } from '../../src/framework/testing.ts'
import { podScores } from '../../src/plugins/scorers/prefix-report.ts'

describe('podScores', () => {
  const scores = (endpoints: readonly ReturnType<typeof endpoint>[], ...blocks: number[]) => {
    const zeros = new Int32Array(blocks.length)
    return podScores(endpoints, {
      blocks: Int32Array.from(blocks),
      weighted: Float64Array.from(blocks),
      blockTokens: zeros,
      usableBlocks: zeros,
    }).fields.scores
  }
  const at = (address: string, port: number, rank?: number) =>
    endpoint({ address, port, rank: rank ?? 0, sharesPort: rank !== undefined })

  it('names servers by IP address, and by port too where they share one', () => {
    const endpoints = [at('10.0.0.1', 1), at('10.0.0.2', 1), at('10.0.0.2', 2), at('10.0.0.3', 1)]
    assert.deepEqual(scores(endpoints, 3, 4, 5, 0), {
      '10.0.0.1': 3,
      '10.0.0.2:1': 4,
      '10.0.0.2:2': 5,
    })
    assert.equal(scores(endpoints, 0, 0, 0, 0), null)
  })

  it('tells of ranks behind one port what the best of them holds', () => {
    const endpoints = [at('10.0.0.1', 1, 0), at('10.0.0.1', 1, 1), at('10.0.0.1', 1, 2)]
    assert.deepEqual(scores(endpoints, 2, 7, 0), { '10.0.0.1': 7 })
    const two = [...endpoints, at('10.0.0.1', 2, 0)]
    assert.deepEqual(scores(two, 2, 7, 0, 1), { '10.0.0.1:1': 7, '10.0.0.1:2': 1 })
  })
})
