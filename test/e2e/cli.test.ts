import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Epp } from './epp.ts'

const SCREEN_LINES = 60

/** Runs the built command to its end. */
function epp(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/main.js', ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 20_000,
  })
  return { status, stdout, stderr }
}

describe('epp', function () {
  this.timeout(60_000)

  for (const command of [
    ...['serve', 'proxy', 'check', 'plugins', 'sim-engine', 'demo', 'explain', 'tokenize'],
    ...['replay', 'simulate'],
  ]) {
    it(`${command} --help fits one screen and has an example`, () => {
      const { status, stdout } = epp([command, '--help'])
      assert.equal(status, 0)
      assert.match(stdout, /Example:\n {2}(epp |.*\| epp |.*\|\n {4}epp )/)
      const lines = stdout.split('\n').length
      assert.ok(lines <= SCREEN_LINES, `${lines} lines`)
    })
  }

  for (const [args, message] of [
    [['serve', '--grpc-port', 'x'], /"x" is not a port/],
    [['serve', '--request-log', 'some'], /"some" is none of on, off, sampled=N/],
    [['serve', '--refresh-metrics-interval', '5'], /"5" is not a duration; write a number and ms/],
    [['serve', '--responses', 'maybe'], /"maybe" is none of auto, full, sampled=N, none/],
    [['serve', '--endpiont', 'x'], /Did you mean --endpoint\?/],
    [['serve', '--endpoint', 'http://model:8000'], /--endpoint "http:\/\/model:8000"/],
    [['serve', '--config-file', '/nowhere.yaml'], /--config-file \/nowhere\.yaml/],
    [
      ['serve', '--config-text', 'plugins: [{ type: queue-scorrer }]'],
      /did you mean "queue-scorer"\?/,
    ],
    [['serve', '--admin-token-file', '/nowhere'], /--admin-token-file \/nowhere/],
    [['plugins', 'max-scor-picker'], /did you mean "max-score-picker"\?/],
    [['sim-engine', '--host', '10.0.0.1'], /loopback/],
  ] as const) {
    it(`refuses ${args.join(' ')}`, () => {
      const { status, stdout, stderr } = epp(args)
      assert.equal(status, 1)
      assert.match(stderr, message)
      assert.ok(!/\n {4}at /.test(stderr), `a stack trace: ${stderr}`)
      assert.equal(stdout, '')
    })
  }

  for (const flag of ['--grpc-port', '--grpc-health-port', '--metrics-port', '--kv-events-bind']) {
    it(`exits naming port and ${flag} when the port is in use`, async () => {
      const other = createServer()
      await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
      const { port } = other.address() as { port: number }
      try {
        const ports = ['--grpc-port', '--grpc-health-port', '--metrics-port'].flatMap((each) => [
          each,
          each === flag ? `${port}` : '0',
        ])
        const address = flag === '--kv-events-bind' ? `${port}` : '*'
        const { status, stderr } = epp([
          ...['serve', '--bind-address', '127.0.0.1', ...ports],
          ...['--kv-events-bind', `tcp://127.0.0.1:${address}`],
        ])
        assert.equal(status, 1)
        assert.ok(stderr.includes(`${port}`) && stderr.includes(flag), stderr)
      } finally {
        other.close()
      }
    })
  }

  it('shows every problem of a file with its place, and exits 1', () => {
    const folder = mkdtempSync(join(tmpdir(), 'epp-cli-'))
    try {
      const file = join(folder, 'bad.yaml')
      writeFileSync(
        file,
        'schedulingProfiles:\n  - name: default\n    plugins:\n      - { type: queue-scorer, weight: -1 }\n      - { type: max-score-picker, parameters: { maxNumOfEndpoints: 0 } }\n',
      )
      const { status, stdout } = epp(['check', file])
      assert.equal(status, 1)
      assert.match(
        stdout,
        /bad\.yaml:4:\d+ {2}schedulingProfiles\[0\]\.plugins\[0\]\.weight: .*got -1/,
      )
      assert.match(stdout, /bad\.yaml:5:\d+ .*maxNumOfEndpoints: must be at least 1, got 0/)
      const json = JSON.parse(epp(['check', '--json', file]).stdout) as {
        valid: boolean
        problems: { line: number }[]
      }
      assert.equal(json.valid, false)
      assert.deepEqual(
        json.problems.map(({ line }) => line),
        [4, 5],
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('finds the shipped profile valid, also strictly', () => {
    const { status, stdout } = epp(['check', '--strict', 'config/scheduler-profiles.yaml'])
    assert.equal(stdout, 'config/scheduler-profiles.yaml: valid\n')
    assert.equal(status, 0)
  })

  it('reads flags from the environment and shows pages to who has the token', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'epp-cli-'))
    writeFileSync(join(folder, 'token'), 'secret\n')
    const picker = await Epp.start(['--kv-events-bind', 'tcp://127.0.0.1:*'], {
      EPP_ENDPOINT: '127.0.0.1:9',
      EPP_ADMIN_TOKEN_FILE: join(folder, 'token'),
    })
    try {
      const get = (headers: Record<string, string>) =>
        fetch(`http://127.0.0.1:${picker.ports.metrics}/endpoints`, { headers })
      assert.equal((await get({})).status, 401)
      assert.equal((await get({ authorization: 'Bearer wrong' })).status, 401)
      const endpoints = (await (await get({ authorization: 'Bearer secret' })).json()) as {
        address: string
      }[]
      assert.deepEqual(
        endpoints.map(({ address }) => address),
        ['127.0.0.1:9'],
      )
      assert.equal((await fetch(`http://127.0.0.1:${picker.ports.metrics}/metrics`)).status, 200)
    } finally {
      assert.equal(await picker.stop(), 0)
      rmSync(folder, { recursive: true })
    }
  })
})
