import assert from 'node:assert/strict'
import { Session } from 'node:inspector/promises'
import { selfTimes } from '../../bench/extproc/profiles.ts'

const frame = (functionName: string, url = '', lineNumber = 0) => ({
  functionName,
  url,
  lineNumber,
})

describe('bench/extproc/profiles', () => {
  it('sums self times by function and file, without what is idle or the system', () => {
    const found = selfTimes({
      nodes: [
        { id: 1, callFrame: frame('(root)') },
        { id: 2, callFrame: frame('(idle)') },
        { id: 3, callFrame: frame('(program)') },
        { id: 4, callFrame: frame('pick', 'file:///home/me/dist/a.js', 11) },
        { id: 5, callFrame: frame('(garbage collector)') },
        { id: 6, callFrame: frame('pick', 'file:///home/me/dist/a.js', 11) },
        { id: 7, callFrame: frame('', 'file:///x/node_modules/undici/lib/b.js', 4) },
      ],
      samples: [2, 4, 5, 6, 3, 7, 1],
      timeDeltas: [5, 100, 20, 10, 40, 300, 10],
    })
    assert.deepEqual(found, [
      { name: 'pick', place: 'dist/a.js:12', share: 60 / 80 },
      { name: '(garbage collector)', place: '', share: 10 / 80 },
      { name: '(anonymous)', place: 'node_modules/undici/lib/b.js:5', share: 10 / 80 },
    ])
  })

  it('finds the function that keeps this process busy', async () => {
    const session = new Session()
    session.connect()
    await session.post('Profiler.enable')
    await session.post('Profiler.start')
    keepBusy(300)
    const { profile } = await session.post('Profiler.stop')
    session.disconnect()
    const [first] = selfTimes(profile as Parameters<typeof selfTimes>[0])
    assert.equal(first!.name, 'keepBusy')
    assert.match(first!.place, /profiles\.test\.ts:\d+$/)
  })
})

function keepBusy(ms: number): void {
  const start = process.cpuUsage()
  let spun = 0
  while (process.cpuUsage(start).user / 1000 < ms) for (let i = 0; i < 1e5; i++) spun += i % 7
  assert.ok(spun > 0)
}
