import assert from 'node:assert/strict'
import { DEFAULT_LIMITS } from '../../src/framework/limits.ts'
import { exceedsJsonBounds } from '../../src/openai/json-bounds.ts'

const { maxJsonContainers: MAX_JSON_CONTAINERS, maxJsonValues: MAX_JSON_MEMBERS } = DEFAULT_LIMITS
const exceeds = (text: string) => exceedsJsonBounds(Buffer.from(text))
const arrays = (count: number) => `[${'[],'.repeat(count - 2)}[]]`
const numbers = (count: number) => `[${'1,'.repeat(count - 1)}1]`

describe('exceedsJsonBounds', () => {
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
    const limits = { maxJsonContainers: 3, maxJsonValues: 5 }
    const within = (text: string) => !exceedsJsonBounds(Buffer.from(text), limits)
    assert.deepEqual([arrays(3), arrays(4)].map(within), [true, false])
    assert.deepEqual([numbers(6), numbers(7)].map(within), [true, false])
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
