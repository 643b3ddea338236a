import assert from 'node:assert/strict'
import { EndpointStore } from '../../src/datalayer/endpoint-store.ts'
import type { EndpointSpec } from '../../src/framework/endpoint.ts'
import { telemetry } from './telemetry.ts'

const spec = (port: number, fields: Partial<EndpointSpec> = {}): EndpointSpec => ({
  namespace: 'default',
  name: `s-${port}`,
  address: '10.0.0.5',
  port,
  rank: 0,
  labels: {},
  ...fields,
})
const METRICS = {
  waiting: 3,
  running: 2,
  kvCacheUsage: 0.5,
  blockTokens: 64,
  kvBlocks: 100,
  hashAlgorithm: 'sha256_cbor',
  adapters: undefined,
  custom: new Map(),
  scrapedAtMs: 17,
}

describe('EndpointStore', () => {
  const make = () => {
    const services = telemetry()
    const store = new EndpointStore(services)
    const log: string[] = []
    store.listen({
      added: ({ hostPort, slot }) => log.push(`+${hostPort}/${slot}`),
      removed: ({ hostPort, slot }) => log.push(`-${hostPort}/${slot}`),
    })
    return { store, log, ...services }
  }

  it('is empty at first, and gives the same frozen array until something changes', () => {
    const { store } = make()
    assert.deepEqual(store.list(), [])
    store.replace('a', [spec(8000, { labels: { zone: 'a' } })])
    const list = store.list()
    assert.equal(store.list(), list)
    assert.ok(Object.isFrozen(list) && Object.isFrozen(list[0]))
    assert.deepEqual(list, [
      {
        id: 'default/s-8000 10.0.0.5:8000 1',
        slot: 0,
        namespace: 'default',
        name: 's-8000',
        address: '10.0.0.5',
        port: 8000,
        hostPort: '10.0.0.5:8000',
        rank: 0,
        labels: new Map([['zone', 'a']]),
        metrics: undefined,
      },
    ])
    store.replace('a', [spec(8000, { labels: { zone: 'a' } })])
    assert.equal(store.list(), list, 'the same set again changes nothing')
  })

  it('leaves out those beyond its limit, says so, and takes them when there is room', async () => {
    const services = telemetry()
    const store = new EndpointStore(services, 2)
    store.replace('a', [spec(8000)])
    store.replace('b', [spec(8001), spec(8002), spec(8003)])
    const ports = () => store.list().map(({ port }) => port)
    assert.deepEqual(ports(), [8000, 8001])
    assert.equal(
      services.notices.list().find(({ key }) => key === 'endpoints-too-many')?.text,
      '2 endpoints are left out, since a pool has at most 2; raise --max-endpoints',
    )
    store.replace('b', [spec(8001)])
    assert.ok(!services.notices.list().some(({ key }) => key === 'endpoints-too-many'))
    store.replace('a', [])
    store.replace('b', [spec(8001), spec(8002)])
    assert.deepEqual(ports(), [8001, 8002])
  })

  it('writes IPv6 addresses in brackets', () => {
    const { store } = make()
    store.replace('a', [spec(8000, { address: 'fd00::5' })])
    assert.equal(store.list()[0]?.hostPort, '[fd00::5]:8000')
  })

  it('adds and removes by difference, and uses slots again', () => {
    const { store, log } = make()
    store.replace('a', [spec(1), spec(2), spec(3)])
    store.replace('a', [spec(1), spec(3)])
    store.replace('a', [spec(1), spec(3), spec(4), spec(5)])
    assert.deepEqual(log, [
      '+10.0.0.5:1/0',
      '+10.0.0.5:2/1',
      '+10.0.0.5:3/2',
      '-10.0.0.5:2/1',
      '+10.0.0.5:4/1',
      '+10.0.0.5:5/3',
    ])
  })

  it('takes another uid, name or rank at an address for another server, never with the old id', () => {
    const { store, log } = make()
    const ids = new Set<string>()
    const changes = [{}, { uid: 'u2' }, { uid: 'u2', name: 'n' }, { rank: 1 }, { metricsPort: 9 }]
    for (const fields of changes) {
      store.replace('a', [spec(1, fields)])
      ids.add(store.list()[0]!.id)
    }
    assert.equal(ids.size, changes.length)
    assert.equal(log.length, 2 * changes.length - 1)
    assert.deepEqual(log.slice(0, 3), ['+10.0.0.5:1/0', '-10.0.0.5:1/0', '+10.0.0.5:1/0'])
  })

  it('removes before it adds, when a server comes back under its name with a new address', () => {
    const { store, log } = make()
    store.replace('a', [spec(1)])
    store.replace('a', [spec(1, { address: '10.0.0.9' })])
    assert.deepEqual(log, ['+10.0.0.5:1/0', '-10.0.0.5:1/0', '+10.0.0.9:1/0'])
  })

  it('changes labels in place: same id, metrics kept, nobody told', async () => {
    const { store, log, value } = make()
    store.replace('a', [spec(1)])
    const before = store.list()[0]!
    store.setMetrics(before.id, METRICS)
    store.replace('a', [spec(1, { labels: { zone: 'b' } })])
    const after = store.list()[0]!
    assert.deepEqual(after, { ...before, labels: new Map([['zone', 'b']]), metrics: METRICS })
    assert.equal(before.labels.size, 0, 'the old snapshot stays as it was')
    assert.deepEqual(log, ['+10.0.0.5:1/0'])
    assert.equal(await value('epp_endpoint_changes_total{change="updated"}'), 1)
    assert.equal(await value('epp_endpoints'), 1)
  })

  it('puts metrics into a new snapshot, and ignores those of an endpoint that is gone', () => {
    const { store } = make()
    store.replace('a', [spec(1), spec(2)])
    const before = store.list()
    store.setMetrics(before[0]!.id, METRICS)
    assert.notEqual(store.list(), before)
    assert.equal(store.list()[0]?.metrics, METRICS)
    assert.equal(store.list()[1], before[1])
    store.replace('a', [spec(2)])
    const list = store.list()
    store.setMetrics(before[0]!.id, METRICS)
    assert.equal(store.list(), list)
    store.setMetrics(list[0]!.id, undefined)
    assert.equal(store.list()[0]?.metrics, undefined)
  })

  it('joins several sources, and gives a doubly claimed address to the first, with a notice', () => {
    const { store, log, notices } = make()
    store.replace('flags', [spec(1)])
    store.replace('file', [spec(1, { name: 'other' }), spec(2)])
    assert.deepEqual(
      store.list().map(({ name }) => name),
      ['s-1', 's-2'],
    )
    assert.deepEqual(
      notices.list().map(({ text }) => text),
      [
        'left out, since another endpoint has the address and port: default/other at 10.0.0.5:1 (file)',
      ],
    )
    store.replace('flags', [])
    assert.deepEqual(
      store.list().map(({ name }) => name),
      ['s-2', 'other'],
    )
    assert.deepEqual(notices.list(), [])
    assert.deepEqual(log.slice(2), ['-10.0.0.5:1/0', '+10.0.0.5:1/0'])
  })

  it('tells a new listener of those already there, and one that left of nothing', () => {
    const { store } = make()
    store.replace('a', [spec(1, { uid: 'u' })])
    const late: string[] = []
    const stop = store.listen({ added: ({ id }, { uid }) => late.push(`${id} ${uid}`) })
    assert.deepEqual(late, ['default/s-1 10.0.0.5:1 1 u'])
    stop()
    store.replace('a', [])
    store.replace('a', [spec(1)])
    assert.equal(late.length, 1)
  })

  it('tells the other listeners when one fails, and logs it', () => {
    const { store, log, lines } = make()
    store.listen({
      removed: () => {
        throw new Error('broken listener')
      },
    })
    const last: string[] = []
    store.listen({ removed: ({ hostPort }) => last.push(hostPort) })
    store.replace('a', [spec(1), spec(2)])
    store.replace('a', [])
    assert.deepEqual(last, ['10.0.0.5:1', '10.0.0.5:2'])
    assert.equal(log.length, 4)
    assert.equal(lines.length, 2)
    assert.match(lines[0]!, /broken listener/)
  })

  it('keeps slots dense and ids unique over 10,000 comings and goings', () => {
    const { store, log } = make()
    const ids = new Set<string>()
    store.listen({ added: ({ id }) => ids.add(id) })
    for (let round = 0; round < 1000; round++) {
      store.replace(
        'a',
        Array.from({ length: 10 }, (_, i) => spec(1 + ((round * 7 + i) % 40))),
      )
      const slots = store.list().map(({ slot }) => slot)
      assert.equal(new Set(slots).size, 10)
      assert.ok(Math.max(...slots) < 10)
    }
    assert.equal(ids.size, log.filter((line) => line.startsWith('+')).length)
  })

  describe('with ranks behind one port', () => {
    const names = (store: EndpointStore) => store.list().map(({ hostPort }) => hostPort)

    it('makes an endpoint of each, which share address, port, labels and name', () => {
      const { store } = make()
      store.setRanksPerPort(3)
      store.replace('a', [spec(8000, { labels: { zone: 'b' } }), spec(1, { address: 'fd00::5' })])
      assert.deepEqual(
        store.list().map(({ hostPort, rank }) => [hostPort, rank]),
        [
          ...[0, 1, 2].map((rank) => [`10.0.0.5:8000#${rank}`, rank]),
          ...[0, 1, 2].map((rank) => [`[fd00::5]:1#${rank}`, rank]),
        ],
      )
      const [first, second] = store.list()
      assert.deepEqual(second, {
        ...first,
        id: second!.id,
        slot: 1,
        rank: 1,
        hostPort: second!.hostPort,
      })
      assert.notEqual(second!.id, first!.id)
    })

    it('leaves a server with several ports as it is', () => {
      const { store } = make()
      store.setRanksPerPort(2)
      const two = [0, 1].map((rank) => spec(8000 + rank, { name: 's', rank }))
      store.replace('a', [...two, spec(9000)])
      assert.deepEqual(names(store), [
        '10.0.0.5:8000',
        '10.0.0.5:8001',
        '10.0.0.5:9000#0',
        '10.0.0.5:9000#1',
      ])
    })

    it('keeps those that stay when their number changes, with their metrics', () => {
      const { store, log } = make()
      store.replace('a', [spec(1)])
      store.setRanksPerPort(3)
      assert.deepEqual(log.splice(0), [
        ...['+10.0.0.5:1/0', '-10.0.0.5:1/0'],
        ...['+10.0.0.5:1#0/0', '+10.0.0.5:1#1/1', '+10.0.0.5:1#2/2'],
      ])
      store.setMetrics(store.list()[1]!.id, METRICS)
      store.setRanksPerPort(2)
      assert.deepEqual(log.splice(0), ['-10.0.0.5:1#2/2'])
      assert.equal(store.list()[1]!.metrics, METRICS)
      store.setRanksPerPort(2)
      assert.deepEqual(log, [])
    })

    it('takes a server as a whole or not at all, and each address once', () => {
      const services = telemetry()
      const store = new EndpointStore(services, 5)
      store.setRanksPerPort(2)
      store.replace('a', [spec(1), spec(2), spec(3), spec(1, { name: 'other' })])
      assert.deepEqual(names(store), [
        '10.0.0.5:1#0',
        '10.0.0.5:1#1',
        '10.0.0.5:2#0',
        '10.0.0.5:2#1',
      ])
      const text = (key: string) => services.notices.list().find((each) => each.key === key)?.text
      assert.match(text('endpoints-too-many')!, /^2 endpoints are left out/)
      assert.match(text('endpoints-claimed-twice')!, /default\/other at 10\.0\.0\.5:1 \(a\)/)
    })
  })
})
