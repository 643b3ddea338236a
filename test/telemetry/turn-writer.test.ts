import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { turnWriter } from '../../src/telemetry/turn-writer.ts'

const MODULE = fileURLToPath(new URL('../../src/telemetry/turn-writer.ts', import.meta.url))

describe('turnWriter', () => {
  it('hands the lines of one turn on together, in their order', async () => {
    const written: string[] = []
    const write = turnWriter((text) => written.push(text))
    for (const line of ['a\n', 'b\n', 'c\n']) write(line)
    assert.deepEqual(written, [])
    await setImmediate()
    write('d\n')
    await setImmediate()
    assert.deepEqual(written, ['a\nb\nc\n', 'd\n'])
  })

  it('writes what it holds when the process ends in the same turn', () => {
    const script = `
      const { turnWriter } = await import(${JSON.stringify(MODULE)})
      turnWriter((text) => process.stdout.write(text))('the last words\\n')
      process.exit()`
    const args = ['--import', 'tsx', '--input-type=module', '--eval', script]
    assert.equal(execFileSync(process.execPath, args, { encoding: 'utf8' }), 'the last words\n')
  })
})
