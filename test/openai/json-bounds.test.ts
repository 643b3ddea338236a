import assert from 'node:assert/strict'
import {
  exceedsJsonBounds,
  MAX_JSON_CONTAINERS,
  MAX_JSON_MEMBERS,
} from '../../src/openai/json-bounds.ts'

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

  it('counts nothing inside strings, whatever is escaped in them', () => {
    const many = '[{,'.repeat(MAX_JSON_CONTAINERS + 1)
    assert.equal(exceeds(JSON.stringify({ prompt: `"\\${many}\\"` })), false)
    assert.equal(exceeds(`["\\\\"${arrays(MAX_JSON_CONTAINERS + 1)}]`), true)
  })

  it('ends at a string that does not', () => {
    assert.equal(exceeds(`["${'\\'.repeat(MAX_JSON_CONTAINERS)}`), false)
  })
})
