import assert from 'node:assert/strict'
import { type Pod, readPod } from '../../../src/discovery/kubernetes/objects/pod.ts'
import { RESOURCE } from '../../../src/discovery/kubernetes/objects/resources.ts'
import { Reflector } from '../../../src/discovery/kubernetes/reflector.ts'
import {
  DEFAULT_TIMES,
  type ReflectorTimes,
} from '../../../src/discovery/kubernetes/reflector-times.ts'
import { WatchReport } from '../../../src/discovery/kubernetes/watch-report.ts'
import { seededRandom } from '../../../src/framework/random.ts'
import { telemetry, until } from '../../datalayer/telemetry.ts'
import { ApiServer } from './api-server.ts'
import { clientOf, clock, podObject, SHORT } from './cluster.ts'

/** Times in which a watch does not end by itself during a test. */
const LONG: ReflectorTimes = { ...SHORT, minWatchSeconds: 60, maxWatchSeconds: 60 }

describe('Reflector', () => {
  let server: ApiServer
  let stops: (() => Promise<void>)[] = []

  beforeEach(async () => {
    server = new ApiServer({ bookmarkMs: 50 })
    await server.start()
  })
  afterEach(async () => {
    for (const stop of stops) await stop()
    stops = []
    await server.close()
  })

  const reflect = (times: Partial<ReflectorTimes> = LONG, limits = {}) => {
    const services = telemetry()
    const client = clientOf(server, { answerMs: 500, ...limits })
    const report = new WatchReport(
      { ...services, clock },
      { consequence: () => 'serving', changed: () => {} },
    )
    const told: string[] = []
    const reflector: Reflector<Pod> = new Reflector(
      { client, clock, random: seededRandom(1), times: { ...DEFAULT_TIMES, ...times } },
      {
        ...{ resource: RESOURCE.pods, namespace: 'default', read: readPod },
        changed: () => told.push(names().join(',')),
      },
      report.open(RESOURCE.pods, 'default'),
    )
    const names = () =>
      reflector.objects
        .values()
        .map(({ meta }) => meta.name)
        .sort()
    reflector.start()
    stops.push(async () => {
      await reflector.stop()
      client.close()
    })
    const knows = (expected: string, limitMs?: number) =>
      until(`knows ${expected}`, () => names().join(',') === expected, limitMs)
    const count = async (name: string, labels: string) =>
      (await services.value(`epp_kubernetes_${name}{resource="pods",${labels}}`)) ?? 0
    return { ...services, reflector, told, knows, count, report }
  }
  const asked = (watch: boolean) => server.requests.filter((each) => each.watch === watch)
  const watching = (number = 1) =>
    until('a watch is open', () => server.watches.resources.length === number)

  it('lists in pages and watches from there, with bookmarks and a limit of time', async () => {
    for (let i = 0; i < 1203; i++) server.apply(podObject(`p${i}`, '10.0.0.1'))
    const { reflector, told } = reflect({ ...LONG, minWatchSeconds: 30, maxWatchSeconds: 60 })
    await watching()
    assert.equal(reflector.objects.values().length, 1203)
    assert.deepEqual(
      asked(false).map(({ query }) => query.get('limit')),
      ['500', '500', '500'],
    )
    assert.equal(told.length, 1, 'told once, when the list was whole')
    const { query } = asked(true)[0]!
    assert.equal(query.get('resourceVersion'), String(server.version))
    assert.equal(query.get('allowWatchBookmarks'), 'true')
    const seconds = Number(query.get('timeoutSeconds'))
    assert.ok(seconds >= 30 && seconds <= 60, `${seconds} s`)
  })

  it('begins a list anew whose pages are gone, and takes nothing of the first half', async () => {
    for (let i = 0; i < 600; i++) server.apply(podObject(`p${i}`, '10.0.0.1'))
    server.expiredPages = 2
    const { reflector, told, count } = reflect()
    await watching()
    assert.equal(reflector.objects.values().length, 600)
    assert.equal(told.length, 1)
    assert.equal(await count('lists_total', 'result="gone"'), 2)
    assert.equal(await count('lists_total', 'result="ok"'), 1)
  })

  it('asks for smaller pages when a page is too large', async () => {
    for (let i = 0; i < 400; i++) server.apply(podObject(`p${i}`, '10.0.0.1'))
    const { reflector } = reflect(LONG, { maxAnswerBytes: 30_000 })
    await watching()
    assert.equal(reflector.objects.values().length, 400)
  })

  for (const form of ['event', 'status'] as const) {
    it(`lists again at once after 410 as ${form === 'event' ? 'an event' : 'a status'}`, async () => {
      server.apply(podObject('a', '10.0.0.1'))
      const { knows, count } = reflect({ ...LONG, backoffMs: 400, maxBackoffMs: 400 })
      await watching()
      server.watches.goneAs = form
      server.watches.drop()
      server.remove('v1', 'Pod', 'a')
      server.apply(podObject('b', '10.0.0.2'))
      server.compact()
      await knows('b')
      assert.equal(await count('events_total', 'type="gone"'), 1)
      const at = server.requests.findLastIndex(({ watch }) => !watch)
      const [gone, list] = server.requests.slice(at - 1)
      assert.equal(gone!.watch, true)
      // A wait would take 200 ms at least.
      assert.ok(list!.atMs - gone!.atMs < 150, `${list!.atMs - gone!.atMs} ms`)
    })
  }

  it('takes a pod that was deleted and made anew unseen for another', async () => {
    const [old] = server.apply(podObject('a', '10.0.0.1'))
    const { reflector, knows } = reflect()
    await knows('a')
    await server.stop()
    server.remove('v1', 'Pod', 'a')
    const [made] = server.apply(podObject('a', '10.0.0.1'))
    await server.start()
    await until('the other uid', () => reflector.objects.get('a')?.meta.uid === made!.metadata.uid)
    assert.notEqual(old!.metadata.uid, made!.metadata.uid)
  })

  for (const status of [401, 403, 429, 500, 503]) {
    it(`goes on after ${status} for a list and for a watch`, async () => {
      server.apply(podObject('a', '10.0.0.1'))
      server.fail('pods', status, 2)
      const { knows, reflector } = reflect()
      await knows('a')
      await watching()
      server.fail('pods', status, 3)
      server.watches.drop()
      server.apply(podObject('b', '10.0.0.2'))
      await knows('a,b')
      assert.equal(asked(false).filter((each) => each.status === 200).length, 1, 'no second list')
      assert.equal(reflector.state, 'synced')
    })
  }

  it('waits as long as retry-after asks, up to a limit', async () => {
    server.fail('pods', 429, 1, 3600)
    const { knows } = reflect({ ...LONG, maxRetryAfterMs: 300 })
    const began = performance.now()
    server.apply(podObject('a', '10.0.0.1'))
    await knows('a')
    const tookMs = performance.now() - began
    assert.ok(tookMs >= 290 && tookMs < 3000, `${tookMs} ms`)
  })

  it('continues a watch that was cut, without a list', async () => {
    server.apply(podObject('a', '10.0.0.1'))
    const { knows, lines } = reflect()
    await knows('a')
    await watching()
    await new Promise((done) => setTimeout(done, SHORT.settleMs))
    server.watches.drop()
    server.apply(podObject('b', '10.0.0.2'))
    await knows('a,b')
    assert.equal(asked(false).length, 1)
    assert.deepEqual(lines, [], 'one broken connection is no trouble')
  })

  it('notices a connection that says nothing, and lists again', async () => {
    server.apply(podObject('a', '10.0.0.1'))
    const { knows, count } = reflect({ ...SHORT, idleMarginMs: 300 })
    await watching()
    server.watches.silent = true
    server.apply(podObject('b', '10.0.0.2'))
    server.watches.silent = false
    await knows('a,b')
    assert.equal(await count('errors_total', 'reason="silent"'), 1)
    assert.equal(await count('lists_total', 'result="ok"'), 2)
  })

  it('notices a server that accepts connections and answers nothing', async () => {
    server.frozen = true
    const { knows, count } = reflect({ ...SHORT, idleMarginMs: 300 })
    await until(
      'silence is counted',
      async () => (await count('errors_total', 'reason="silent"')) > 0,
    )
    server.frozen = false
    server.apply(podObject('a', '10.0.0.1'))
    await knows('a')
  })

  it('lists again after a quiet watch from a version that the server has not reached', async () => {
    server.apply(podObject('a', '10.0.0.1'))
    const { knows } = reflect(SHORT)
    await watching()
    server.rewind(10_000)
    server.watches.drop()
    server.apply(podObject('b', '10.0.0.2'))
    await knows('a,b')
    assert.equal(asked(false).filter(({ query }) => query.get('limit') === '500').length, 2)
  })

  it('does not list again after quiet watches', async () => {
    await server.close()
    server = new ApiServer({ bookmarkMs: 60_000 })
    await server.start()
    server.apply(podObject('a', '10.0.0.1'))
    reflect(SHORT)
    await until('three watches', () => asked(true).length === 3)
    assert.equal(asked(false).filter(({ query }) => query.get('limit') === '500').length, 1)
  })

  const garbage: readonly (readonly [string, string, string])[] = [
    ['no JSON', '{"type":"ADDED","object":\n', 'malformed'],
    ['no event', '[1,2]\n', 'malformed'],
    ['null', 'null\n', 'malformed'],
    [
      'an unknown type',
      '{"type":"SURPRISE","object":{"metadata":{"resourceVersion":"1"}}}\n',
      'malformed',
    ],
    [
      'an object without a name',
      '{"type":"ADDED","object":{"metadata":{"resourceVersion":"1","uid":"u"}}}\n',
      'malformed',
    ],
    [
      'an object without a version',
      '{"type":"ADDED","object":{"metadata":{"name":"x","uid":"u"}}}\n',
      'malformed',
    ],
    [
      'a nested thing deeper than a stack',
      `{"type":${'['.repeat(100_000)}${']'.repeat(100_000)}}\n`,
      'malformed',
    ],
    ['an endless line', 'x'.repeat(200_000), 'too_large'],
    ['a fault of the server', '{"type":"ERROR","object":{"code":500,"message":"no"}}\n', 'server'],
  ]
  for (const [what, text, reason] of garbage) {
    it(`survives ${what} in a watch`, async () => {
      server.apply(podObject('a', '10.0.0.1'))
      const { knows, count } = reflect(LONG, { maxLineBytes: 150_000 + 100_000 })
      await knows('a')
      await watching()
      server.watches.write('pods', text.startsWith('x') ? text.repeat(2) : text)
      await until(
        'it is counted',
        async () => (await count('errors_total', `reason="${reason}"`)) > 0,
      )
      server.apply(podObject('b', '10.0.0.2'))
      await knows('a,b')
    })
  }

  it('leaves out what has no name in a list, and takes the rest', async () => {
    server.apply(podObject('a', '10.0.0.1'), podObject('b', '10.0.0.2'))
    const [pod] = server.list('v1', 'Pod')
    delete (pod!.metadata as { uid?: string }).uid
    const { knows, count } = reflect()
    await knows('b')
    assert.equal(await count('errors_total', 'reason="malformed"'), 1)
  })

  it('says a trouble once and its end once, however it changes', async () => {
    for (const status of [403, 429, 503, 403]) server.fail('pods', status, 2)
    const { knows, lines, report } = reflect()
    await until('trouble', () => report.trouble() !== undefined)
    server.apply(podObject('a', '10.0.0.1'))
    await knows('a')
    await until('no trouble', () => report.trouble() === undefined)
    assert.equal(lines.length, 2, lines.join(''))
  })

  it('leaves no request behind when it is stopped at any time', async () => {
    for (const delayMs of [0, 1, 2, 5, 10]) {
      const { reflector } = reflect()
      await new Promise((done) => setTimeout(done, delayMs))
      await reflector.stop()
    }
    await until('no watch is open', () => server.watches.resources.length === 0)
  })
})
