import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { relative } from 'node:path'
import { generatedFiles } from '../scripts/generate.ts'

describe('generated files', function () {
  this.timeout(60_000)
  it('are up to date', () => {
    for (const { path, text } of generatedFiles()) {
      const name = relative('.', path)
      assert.ok(existsSync(path), `${name} is missing; run npm run generate`)
      assert.ok(readFileSync(path, 'utf8') === text, `${name} is stale; run npm run generate`)
    }
  })
})
