import assert from 'node:assert/strict'
import { endpoint as exampleEndpoint } from '../../../src/framework/testing.ts'
import { createKvCache, until } from '../fakes.ts'

const NOTICE = 'kv-block-size:10.0.0.1:8000'

/** What the metrics page of an engine with blocks of this size says. */
const reporting = (blockTokens: number) => ({
  metrics: exampleEndpoint({ metrics: { blockTokens } }).metrics!,
})

describe('a configured block size', () => {
  it('is compared with what metrics pages say where no events do', async function () {
    this.timeout(60_000)
    const { cache, endpoints, notices, logger, metrics } = createKvCache()
    try {
      const mismatches = () =>
        [...metrics.samples.get('epp_kv_hashing_mismatches')!()].map(({ value }) => value)
      endpoints.add({ ...reporting(16) })
      endpoints.add({ address: '10.0.0.2', ...reporting(64) })
      endpoints.add({ address: '10.0.0.3' })
      cache.index.configure({ expected: { blockTokens: 64 }, mediumWeights: {} })
      await until(() => notices.get(NOTICE) !== undefined, 'a notice')
      assert.equal(
        notices.get(NOTICE),
        'configured block size 64, but the metrics page of 10.0.0.1:8000 says 16; 16 is used: correct blockSize in the profile',
      )
      const sizes = notices.list().filter(({ key }) => key.startsWith('kv-block-size'))
      assert.equal(sizes.length, 1)
      assert.deepEqual(mismatches(), [1, 0])
      assert.equal(logger.lines.filter(({ level }) => level === 'warn').length, 1)

      cache.index.configure({ expected: { blockTokens: 16 }, mediumWeights: {} })
      assert.equal(notices.get(NOTICE), undefined)
      assert.match(notices.get('kv-block-size:10.0.0.2:8000')!, /10\.0\.0\.2:8000 says 64/)
    } finally {
      cache.close()
    }
  })
})
