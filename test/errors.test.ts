import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

describe('docs/errors.md', () => {
  it('lists exactly the codes there are', () => {
    const union = /export type ErrorCode =([\s\S]*?)\n\n/.exec(
      readFileSync('src/framework/errors.ts', 'utf8'),
    )![1]!
    const codes = [...union.matchAll(/'([A-Z_]+)'/g)].map(([, code]) => code!)
    const documented = [
      ...readFileSync('docs/errors.md', 'utf8').matchAll(/^\| `([A-Z_]+)` \|/gm),
    ].map(([, code]) => code!)
    assert.ok(codes.length > 10)
    assert.deepEqual(documented.toSorted(), codes.toSorted())
  })
})
