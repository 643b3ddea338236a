import assert from 'node:assert/strict'
import { DEFAULT_LIMITS } from '../../src/framework/limits.ts'
import { exceededBound } from '../../src/openai/json-bounds.ts'

const { maxJsonContainers: MAX_JSON_CONTAINERS, maxJsonValues: MAX_JSON_MEMBERS } = DEFAULT_LIMITS
const exceeds = (text: string) => exceededBound(Buffer.from(text)) === 'values'
const arrays = (count: number) => `[${'[],'.repeat(count - 2)}[]]`
const numbers = (count: number) => `[${'1,'.repeat(count - 1)}1]`

describe('exceededBound', () => {
  it('allows as many objects and arrays as it says, and no more', () => {
    assert.equal(exceeds(arrays(MAX_JSON_CONTAINERS)), false)
    assert.equal(exceeds(arrays(MAX_JSON_CONTAINERS + 1)), true)
    assert.equal(exceeds(arrays(MAX_JSON_CONTAINERS + 1).replaceAll('[]', '{}')), true)
  })

  it('allows as many commas as it says, and no more', () => {
    assert.equal(exceeds(numbers(MAX_JSON_MEMBERS + 1)), false)
    assert.equal(exceeds(numbers(MAX_JSON_MEMBERS + 2)), true)
  })

  it('holds to lower limits, also where the body is short', () => {
    const limits = { maxJsonContainers: 3, maxJsonValues: 5, maxJsonDepth: 100 }
    const within = (text: string) => exceededBound(Buffer.from(text), limits) === undefined
    assert.deepEqual([arrays(3), arrays(4)].map(within), [true, false])
    assert.deepEqual([numbers(6), numbers(7)].map(within), [true, false])
  })

  it('allows as much depth as it says, and no more', () => {
    const nested = (depth: number, open = '[', close = ']') =>
      `{"a":${open.repeat(depth - 1)}1${close.repeat(depth - 1)}}`
    const bound = (text: string, maxJsonDepth = DEFAULT_LIMITS.maxJsonDepth) =>
      exceededBound(Buffer.from(text), { ...DEFAULT_LIMITS, maxJsonDepth })
    for (const [open, close] of [
      ['[', ']'],
      ['{"b":', '}'],
    ] as const) {
      assert.equal(bound(nested(1000, open, close)), undefined)
      assert.equal(bound(nested(1001, open, close)), 'depth')
      assert.equal(bound(nested(5, open, close), 5), undefined)
      assert.equal(bound(nested(6, open, close), 5), 'depth')
    }
    assert.equal(bound(`{"a":[${'[{}],'.repeat(4000)}[]]}`, 4), undefined, 'side by side')
    assert.equal(bound(JSON.stringify({ prompt: '[{'.repeat(4000) }), 4), undefined, 'in a string')
    assert.equal(bound('['.repeat(400_000)), 'depth', 'not closed')
  })

  it('counts nothing inside strings, whatever is escaped in them', () => {
    const many = '[{,'.repeat(MAX_JSON_CONTAINERS + 1)
    assert.equal(exceeds(JSON.stringify({ prompt: `"\\${many}\\"` })), false)
    assert.equal(exceeds(`["\\\\"${arrays(MAX_JSON_CONTAINERS + 1)}]`), true)
  })

  it('ends at a string that does not', () => {
    assert.equal(exceeds(`["${'\\'.repeat(MAX_JSON_CONTAINERS)}`), false)
  })
})
