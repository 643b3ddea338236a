import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'

describe('tuneCollector', () => {
  it('tells V8 nothing that it does not know, which it would say on stderr', () => {
    const source = new URL('../../src/app/collector.ts', import.meta.url).href
    const script = `import { tuneCollector } from '${source}'; tuneCollector(); console.log('done')`
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '--eval', script],
      { encoding: 'utf8' },
    )
    assert.deepEqual({ stdout, stderr, status }, { stdout: 'done\n', stderr: '', status: 0 })
  })
})
