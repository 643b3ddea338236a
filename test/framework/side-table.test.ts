import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { sideTable } from '../../src/framework/side-table.ts'

describe('sideTable', () => {
  it('keeps a value for each object, apart from other tables, where nobody else sees it', () => {
    const [one, other] = [sideTable<object, number>(), sideTable<object, number>()]
    const [key, typed] = [{ a: 1 }, new Int32Array(2)]
    assert.equal(one.get(key), undefined)
    one.set(key, 1)
    one.set(typed, 2)
    other.set(key, 3)
    assert.deepEqual([one.get(key), one.get(typed), other.get(key)], [1, 2, 3])
    one.set(key, 4)
    assert.deepEqual([one.get(key), other.get(key)], [4, 3])
    assert.deepEqual(key, { a: 1 })
    assert.equal(one.get({ ...key }), undefined)
    const frozen = Object.freeze({ b: 1 })
    one.set(frozen, 5)
    assert.equal(one.get(frozen), 5)
  })

  it('lets young collections free the values of objects that are gone, as a WeakMap does not', () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void
    const table = sideTable<object, readonly number[]>()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < 100; i++) {
      for (let k = 0; k < 1000; k++) table.set({}, new Array<number>(100).fill(k))
      collect({ type: 'minor' })
    }
    assert.ok(process.memoryUsage().heapUsed - before < 20_000_000)
  })
})
