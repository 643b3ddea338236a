import assert from 'node:assert/strict'
import { LeaderElection } from '../../../src/discovery/kubernetes/lease.ts'
import { seededRandom } from '../../../src/framework/random.ts'
import { telemetry, until } from '../../datalayer/telemetry.ts'
import { ApiServer } from './api-server.ts'
import { clientOf, clock } from './cluster.ts'

const DURATION_MS = 1000
const LEASES = 'coordination.k8s.io/v1'

describe('LeaderElection', function () {
  this.timeout(60_000)
  let server: ApiServer
  const started: (() => Promise<void>)[] = []

  beforeEach(async () => {
    server = new ApiServer()
    await server.start()
  })
  afterEach(async () => {
    for (const stop of started.splice(0)) await stop()
    await server.close()
  })

  const elect = (identity: string) => {
    const services = { ...telemetry(), clock, random: seededRandom(1) }
    const client = clientOf(server, { answerMs: 500 })
    const election = new LeaderElection(
      { ...services, client },
      { namespace: 'default', name: 'epp', identity, leaseDurationMs: DURATION_MS },
    )
    const changes: boolean[] = []
    election.listen((leading) => changes.push(leading))
    election.start()
    const stop = async () => {
      await election.stop()
      client.close()
    }
    started.push(stop)
    /** As a process that is killed: no connection, nothing given up. */
    const kill = () => client.close()
    return { ...services, election, changes, stop, kill }
  }
  const lease = () => {
    const [object] = server.list(LEASES, 'Lease')
    return object!.spec as Readonly<Record<string, unknown>>
  }

  it('makes one of two replicas the leader, and writes a lease as Kubernetes has it', async () => {
    const [a, b] = [elect('a'), elect('b')]
    const leaders = () => [a, b].filter(({ election }) => election.leading)
    await until('a leader', () => leaders().length === 1)
    const [{ election, value }] = leaders() as [typeof a]
    const { holderIdentity, leaseDurationSeconds, leaseTransitions, renewTime, acquireTime } =
      lease()
    assert.equal(holderIdentity, election === a.election ? 'a' : 'b')
    assert.deepEqual([leaseDurationSeconds, leaseTransitions], [1, 0])
    for (const time of [renewTime, acquireTime]) {
      assert.match(time as string, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
    }
    assert.equal(await value('epp_leader'), 1)
    await until('it is renewed twice', () => (lease().renewTime as string) > (renewTime as string))
    assert.equal(leaders().length, 1)
    assert.deepEqual([...a.changes, ...b.changes], [true])
    assert.equal(lease().acquireTime, acquireTime)
  })

  it('replaces a leader that was killed within the duration and a third', async () => {
    const a = elect('a')
    await until('a leads', () => a.election.leading)
    const b = elect('b')
    await until('b has seen a', () => b.election.holder === 'a')
    a.kill()
    const began = performance.now()
    let both = false
    await until(
      'b leads',
      () => {
        both ||= a.election.leading && b.election.leading
        return b.election.leading
      },
      20_000,
    )
    const tookMs = performance.now() - began
    const limitMs = (DURATION_MS * 4) / 3
    console.log(`      taken over after ${tookMs.toFixed(0)} ms (limit ${limitMs.toFixed(0)} ms)`)
    assert.ok(tookMs < limitMs * 10)
    assert.equal(both, false, 'two leaders at once')
    assert.deepEqual(a.changes, [true, false])
    assert.deepEqual([lease().holderIdentity, lease().leaseTransitions], ['b', 1])
  })

  it('gives the lease up when it stops, and the next takes it at once', async () => {
    const a = elect('a')
    await until('a leads', () => a.election.leading)
    const b = elect('b')
    await until('b has seen a', () => b.election.holder === 'a')
    await a.stop()
    assert.equal(a.election.leading, false)
    const began = performance.now()
    await until('b leads', () => b.election.leading, 20_000)
    const tookMs = performance.now() - began
    const limitMs = DURATION_MS / 3
    console.log(`      taken after ${tookMs.toFixed(0)} ms (limit ${limitMs.toFixed(0)} ms)`)
    assert.ok(tookMs < limitMs * 10)
    assert.equal(await b.value('epp_leader_changes_total'), 1)
  })

  it('leaves a lease without a holder, and takes one without, however long it was to last', async () => {
    const a = elect('a')
    await until('a leads', () => a.election.leading)
    await a.stop()
    assert.deepEqual([lease().holderIdentity, lease().leaseDurationSeconds], ['', 1])
    const [object] = server.list(LEASES, 'Lease')
    server.apply({ ...object!, spec: { ...lease(), leaseDurationSeconds: 3600 } })
    const b = elect('b')
    await until('b leads', () => b.election.leading)
  })

  it('steps down when it cannot renew, before another could lead, and leads again', async () => {
    const a = elect('a')
    await until('a leads', () => a.election.leading)
    const renewed = lease().renewTime
    await until('a renewal', () => lease().renewTime !== renewed)
    const began = performance.now()
    await server.stop()
    await until('a has stepped down', () => a.changes.at(-1) === false)
    const tookMs = performance.now() - began
    assert.ok(tookMs < DURATION_MS, `${tookMs} ms`)
    const notice = () => a.notices.list().find(({ key }) => key === 'leader-election')?.text
    assert.match(notice()!, /^cannot reach the lease default\/epp: .*; not leading$/)
    await server.start()
    await until('a leads again', () => a.election.leading, 20_000)
    await until('no notice', () => notice() === undefined)
  })

  it('does not lead on while the server accepts and says nothing', async () => {
    const a = elect('a')
    await until('a leads', () => a.election.leading)
    server.frozen = true
    await until('a has stepped down', () => !a.election.leading)
    server.frozen = false
    await until('a leads again', () => a.election.leading, 20_000)
  })

  it('cedes a lease that another has taken, and keeps what others wrote beside it', async () => {
    const a = elect('a')
    await until('a leads', () => a.election.leading)
    const [object] = server.list(LEASES, 'Lease')
    server.apply({ ...object!, metadata: { ...object!.metadata, labels: { team: 'x' } } })
    const renewed = lease().renewTime
    await until('a has renewed', () => lease().renewTime !== renewed)
    assert.deepEqual(server.list(LEASES, 'Lease')[0]!.metadata.labels, { team: 'x' })
    assert.ok(a.election.leading)
    const [now] = server.list(LEASES, 'Lease')
    server.apply({
      ...now!,
      spec: { ...lease(), holderIdentity: 'thief', renewTime: '2026-01-01T00:00:00.000000Z' },
    })
    await until('a has ceded', () => !a.election.leading)
    assert.equal(a.election.holder, 'thief')
    await until('a takes the silent one over', () => a.election.leading, 20_000)
  })

  it('makes a lease anew that was deleted', async () => {
    const a = elect('a')
    await until('a leads', () => a.election.leading)
    server.remove(LEASES, 'Lease', 'epp')
    await until('it is there again', () => server.list(LEASES, 'Lease').length === 1)
    assert.ok(a.election.leading)
    assert.deepEqual(a.changes, [true])
  })
})
