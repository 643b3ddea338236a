import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { EncodePool } from '../../src/tokenize/encode-pool.ts'
import { tokenizerFolder } from '../../src/tokenize/tokenizer-file.ts'
import { byteTokenizersDir, tokenizersDir } from './fixtures.ts'

describe('EncodePool', () => {
  const directory = byteTokenizersDir('m')
  const folder = tokenizerFolder(join(directory, 'm'))
  const pools: EncodePool[] = []
  const make = (threads: number, stuckMs = 30_000): EncodePool => {
    const pool = new EncodePool(threads, stuckMs)
    pools.push(pool)
    return pool
  }
  after(async () => {
    await Promise.all(pools.map((pool) => pool.close()))
    rmSync(directory, { recursive: true })
  })

  it('encodes pieces in order', async () => {
    const ids = await make(1).encode(folder, ['ab', 'c'], [true, false])
    assert.deepEqual(ids, [Int32Array.of(97, 98), Int32Array.of(99)])
  })

  it('refuses a folder whose files are not those of the job any more', async () => {
    const pool = make(1)
    const before = { ...folder, stamp: 'of yesterday' }
    const failure = await pool.encode(before, ['a'], [true])
    assert.ok('code' in failure && failure.code === 'worker-failed')
    assert.match(failure.text, /have changed/)
    assert.deepEqual(await pool.encode(folder, ['a'], [true]), [Int32Array.of(97)])
  })

  it('goes on with what threads were told to keep, and reads again what they were not', async () => {
    const pool = make(1)
    for (const kept of [[folder.path], []]) {
      pool.keep(kept)
      assert.deepEqual(await pool.encode(folder, ['a'], [true]), [Int32Array.of(97)])
    }
  })

  it('says what failed in the thread, which goes on', async () => {
    const pool = make(1)
    const failure = await pool.encode(tokenizerFolder(join(directory, 'missing')), ['a'], [true])
    assert.ok('code' in failure && failure.code === 'worker-failed')
    assert.match(failure.text, /ENOENT/)
    assert.deepEqual(await pool.encode(folder, ['a'], [true]), [Int32Array.of(97)])
  })

  it('gives more jobs than threads to the next free thread', async () => {
    const pool = make(2)
    const texts = Array.from({ length: 20 }, (_, i) => `text ${i}`)
    const all = await Promise.all(texts.map((text) => pool.encode(folder, [text], [true])))
    assert.deepEqual(
      all,
      texts.map((text) => [Int32Array.from(Buffer.from(text))]),
    )
  })

  it('gives each of the texts that went to a thread together its own ids', async () => {
    const pool = make(1)
    const texts = Array.from({ length: 300 }, (_, i) => [`${i}`, '', 'é'.repeat(i)])
    const all = await Promise.all(
      texts.map((pieces) => pool.encode(folder, pieces, [true, false, false])),
    )
    assert.deepEqual(
      all,
      texts.map((pieces) => pieces.map((piece) => Int32Array.from(Buffer.from(piece)))),
    )
  })

  it('fails only the texts of the folder that cannot be read', async () => {
    const pool = make(1)
    const missing = tokenizerFolder(join(directory, 'missing'))
    const all = await Promise.all(
      [folder, missing, folder, missing].map((one) => pool.encode(one, ['a'], [true])),
    )
    const isGood = all.map((outcome) => !('code' in outcome))
    assert.deepEqual(isGood, [true, false, true, false])
  })

  it('gives no text to a thread that has yet to read a tokenizer which another one has', async () => {
    const qwen = tokenizersDir('m')
    try {
      const large = tokenizerFolder(join(qwen, 'm'))
      const pool = make(2)
      await pool.encode(large, [], [])
      const order: string[] = []
      const jobs = ['a', 'b', 'c'].map((text) =>
        pool.encode(large, [text.repeat(9)], [true]).then(() => order.push(text)),
      )
      await Promise.all(jobs)
      // All were done by the first, one after the other, long before the second was ready.
      assert.deepEqual(order, ['a', 'b', 'c'])
    } finally {
      rmSync(qwen, { recursive: true })
    }
  }).timeout(60_000)

  it('replaces a thread that does not answer', async () => {
    const pool = make(1, 1)
    const stuck = await pool.encode(folder, ['x '.repeat(2_000_000)], [true])
    assert.ok('code' in stuck)
    assert.equal(stuck.text, "the tokenizer's thread failed: no answer within 1 ms")
    assert.equal(pool.queued, 0)
  })

  it('says how long a job would wait, from how fast the last ones went', async () => {
    const pool = make(1)
    assert.equal(pool.waitMs, 0)
    const text = 'word '.repeat(20_000)
    const jobs = [1, 2, 3].map(() => pool.encode(folder, [text], [true]))
    const first = pool.waitMs
    assert.ok(first > 0)
    await Promise.all(jobs)
    assert.equal(pool.waitMs, 0)
    const again = [1, 2, 3].map(() => pool.encode(folder, [text], [true]))
    assert.notEqual(pool.waitMs, first)
    await Promise.all(again)
  })

  it('answers all that waits when it is closed, and nothing afterwards', async () => {
    const pool = make(1)
    const waiting = [1, 2, 3].map(() => pool.encode(folder, ['x '.repeat(500_000)], [true]))
    await pool.close()
    const late = pool.encode(folder, ['a'], [true])
    for (const outcome of await Promise.all([...waiting, late])) {
      assert.ok('code' in outcome && outcome.code === 'closed')
    }
  })
})
