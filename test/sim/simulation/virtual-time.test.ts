import assert from 'node:assert/strict'
import { seededRandom } from '../../../src/framework/random.ts'
import { EventQueue } from '../../../src/sim/simulation/event-queue.ts'
import { VirtualTime } from '../../../src/sim/simulation/virtual-time.ts'

describe('EventQueue', () => {
  it('gives things in the order of their time, then of their coming', () => {
    const random = seededRandom(5)
    const queue = new EventQueue<{ atMs: number; number: number }>()
    const added = Array.from({ length: 2000 }, (_, number) => {
      const event = { atMs: Math.floor(random.next() * 50), number }
      queue.add(event.atMs, event)
      return event
    })
    const taken = Array.from(added, () => {
      const { nextMs } = queue
      const event = queue.take()!
      assert.equal(event.atMs, nextMs)
      return event
    })
    added.sort((a, b) => a.atMs - b.atMs || a.number - b.number)
    assert.deepEqual(taken, added)
    assert.equal(queue.take(), undefined)
    assert.equal(queue.nextMs, Number.POSITIVE_INFINITY)
  })
})

describe('VirtualTime', () => {
  const never = () => false

  it("stands in for the platform's timers and clocks, and puts them back", async () => {
    const before = [setTimeout, setInterval, setImmediate, clearTimeout, Date.now, performance.now]
    const time = new VirtualTime()
    const seen: [string, number, number][] = []
    const note = (what: string) =>
      seen.push([what, performance.now(), Date.now() - time.epochMs() + time.nowMs()])
    const startedMs = Date.now()
    await time.run(() => {
      setTimeout(note, 3_600_000, 'an hour')
      setTimeout(() => note('soon'), 10)
      setImmediate(() => note('now'))
      clearTimeout(setTimeout(() => note('cancelled'), 5))
      let ticks = 0
      const interval = setInterval(() => {
        note('tick')
        if (++ticks === 3) clearInterval(interval)
      }, 4)
      interval.unref()
    }, never)
    assert.deepEqual(seen, [
      ['now', 0, 0],
      ['tick', 4, 4],
      ['tick', 8, 8],
      ['soon', 10, 10],
      ['tick', 12, 12],
      ['an hour', 3_600_000, 3_600_000],
    ])
    const after = [setTimeout, setInterval, setImmediate, clearTimeout, Date.now, performance.now]
    assert.deepEqual(after, before)
    assert.ok(Date.now() - startedMs < 10_000, 'an hour has really passed')
  })

  it('lets what waits for a promise go on before time does, however often it waits', async () => {
    const time = new VirtualTime()
    const seen: number[] = []
    await time.run(() => {
      time.after(5, async () => {
        for (let i = 0; i < 20; i++) await Promise.resolve()
        seen.push(time.nowMs())
        await time.sleep(7)
        seen.push(time.nowMs())
      })
      time.after(6, () => seen.push(-1))
    }, never)
    assert.deepEqual(seen, [5, -1, 12])
  })

  it('puts the platform back when something throws', async () => {
    const before = setTimeout
    const time = new VirtualTime()
    const run = time.run(() => {
      setTimeout(() => {
        throw new Error('broken')
      }, 1)
    }, never)
    await assert.rejects(run, /broken/)
    assert.equal(setTimeout, before)
  })
})
