import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Process } from './process.ts'

const run = promisify(execFile)
/** From the command to the first routed request. */
const LIMIT_S = 10

describe('epp demo', function () {
  this.timeout(120_000)
  let demo: Process
  let startedMs: number

  before(() => {
    startedMs = performance.now()
    demo = new Process('demo', process.execPath, [
      ...['dist/main.js', 'demo', '--port', '0', '--metrics-port', '0'],
    ])
  })
  after(() => demo.stop())

  it('prints two requests that go to one endpoint, in log, header and pages', async () => {
    await demo.line(({ msg }) => msg === 'Ctrl-C ends it.', 'guide')
    const printed = demo.lines.flatMap(
      ({ msg }) => (/^ +(curl .*)$/.exec(msg ?? '') ?? [])[1] ?? [],
    )
    const [round1, round2, decisions] = printed
    const send = async (command: string) => {
      const { stdout } = await run('sh', ['-c', `${command} -s -D -`])
      const [, id] = /x-request-id: (\S+)/.exec(stdout) ?? []
      const [, endpoint] = /x-epp-decision: endpoint=([^;]+)/.exec(stdout) ?? []
      assert.match(stdout, /^HTTP\/1\.1 200 OK/, stdout)
      assert.match(stdout, /data: \[DONE\]\s*$/)
      return { id: id!, endpoint: endpoint! }
    }
    const first = await send(round1!)
    const tookS = (performance.now() - startedMs) / 1000
    console.log(`      first request answered after ${tookS.toFixed(1)} of ${LIMIT_S} s`)
    assert.ok(tookS < 10 * LIMIT_S, `${tookS} s`)
    const second = await send(round2!)
    assert.equal(second.endpoint, first.endpoint)

    const names: (string | undefined)[] = []
    for (const { id } of [first, second]) {
      const line = await demo.line(
        ({ msg }) => msg!.includes('Request handled') && msg!.includes(id),
        `line of ${id}`,
      )
      names.push(/NamespacedName:(\S+)/.exec(line.msg!)?.[1])
    }
    assert.match(names[0]!, /^default\/engine-\d$/)
    assert.equal(names[1], names[0])
    const page = JSON.parse((await run('sh', ['-c', `${decisions} -s`])).stdout) as {
      readonly requestId: string
      readonly endpoints: readonly string[]
    }[]
    assert.deepEqual(
      page.map(({ requestId, endpoints }) => [requestId, endpoints[0]]),
      [second, first].map(({ id, endpoint }) => [id, endpoint]),
    )
  })

  it('ends at SIGINT', async () => {
    await demo.stop('SIGINT')
    assert.equal(demo.exitCode, 0)
    assert.equal(demo.stderr, '')
  })
})
