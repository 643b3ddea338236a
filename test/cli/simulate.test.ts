import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createProgram } from '../../src/cli/program.ts'

function epp(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', 'src/main.ts', 'simulate', ...args],
    { encoding: 'utf8', timeout: 100_000 },
  )
  return { status, stdout, stderr }
}

/** What the command does with flags that it cannot take, in this process. */
async function refusal(args: readonly string[]): Promise<void> {
  const program = createProgram().exitOverride()
  for (const command of program.commands) {
    command.exitOverride().configureOutput({ writeErr: () => {} })
  }
  await program.parseAsync(['node', 'epp', 'simulate', ...args])
}

async function said(args: readonly string[]): Promise<string> {
  return refusal(args).then(
    () => '',
    (error: Error) => error.message,
  )
}

const SMALL = ['--seconds', '15', '--seeds', '2']
const CONFIGS = ['--config', 'config/profiles/llm-d.yaml', '--config', 'config/profiles/cost.yaml']

describe('epp simulate', function () {
  this.timeout(200_000)

  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-simulate-'))
  })
  after(() => rmSync(folder, { recursive: true }))
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }

  it('prints a line per rate and configuration, the same bytes each time', () => {
    const args = ['--workload', 'burst', '--rate', '20,40', ...SMALL, ...CONFIGS]
    const first = epp(...args)
    assert.equal(first.status, 0, first.stderr)
    assert.equal(epp(...args).stdout, first.stdout)
    const lines = first.stdout.trimEnd().split('\n')
    assert.equal(lines[0], 'burst: medians of 2 seeds [least..most]')
    assert.match(lines[2]!, /^rate +config +TTFT mean s +p50 +p90 +p99 +ITL ms +tok\/s +hit of/)
    assert.deepEqual(
      lines.slice(3).map((line) => line.split(/ +/).slice(0, 2)),
      [
        ['20', 'llm-d.yaml'],
        ['20', 'cost.yaml'],
        ['40', 'llm-d.yaml'],
        ['40', 'cost.yaml'],
      ],
    )
    assert.match(first.stderr, /simulated 8 of 8\n$/)
  })

  it('gives JSON, and a page that needs nothing but itself', () => {
    const page = join(folder, 'report.html')
    const { status, stdout, stderr } = epp(
      ...['--workload', 'burst', '--rate', '20,40', ...SMALL, ...CONFIGS],
      ...['--json', '--html', page],
    )
    assert.equal(status, 0, stderr)
    const { rows } = JSON.parse(stdout)
    assert.equal(rows.length, 4)
    assert.equal(rows[0].runs.length, 2)
    assert.ok(rows[0].summary.ttftP90S.median > 0)
    const html = readFileSync(page, 'utf8')
    assert.doesNotMatch(html, /(src|href)=|@import|url\(/)
    const plots = html.match(/<div class="plot" [^>]*role="img" aria-labelledby="t\d+"/g) ?? []
    assert.equal(plots.length, 5 + 2 * 3)
    const [, data] = /id="plots">(.*?)<\/script>/s.exec(html)!
    assert.deepEqual(
      JSON.parse(data!)[0].lines.map(({ name }: { name: string }) => name),
      ['llm-d.yaml', 'cost.yaml'],
    )
  })

  it('takes tables of engines', () => {
    const slow = file('slow.yaml', 'engines: [{ stepMs: 26 }, {}]')
    const args = [
      '--workload',
      'b2b-short',
      '--rate',
      '4',
      '--seconds',
      '4',
      '--seeds',
      '1',
      '--json',
    ]
    const quickMs = JSON.parse(epp(...args).stdout).rows[0].summary.itlMeanMs.median
    const slowMs = JSON.parse(epp(...args, '--engines', '1', '--cost-model', slow).stdout).rows[0]
      .summary.itlMeanMs.median
    assert.ok(slowMs > 26 && quickMs < 20, `${slowMs} and ${quickMs}`)
  })

  for (const [what, args, message] of [
    [
      'a workload that there is not',
      ['--workload', 'b2bshort'],
      /no workload "b2bshort"; did you mean "b2b-short"\?/,
    ],
    ['no load', [], /say what load to simulate: --workload with one of b2b, .*or --trace/],
    ['two loads', ['--workload', 'b2b', '--trace', 'x'], /say what load to simulate/],
    ['a trace that is not there', ['--trace', '/nowhere'], /\/nowhere is not there/],
    [
      'a rate that is none',
      ['--workload', 'b2b', '--rate', '1,x'],
      /"1,x" is not a list of numbers/,
    ],
    [
      'no time between restarts',
      ['--workload', 'b2b', '--restart-picker', '0'],
      /"0" must be longer/,
    ],
    [
      'a report that cannot be written',
      ['--workload', 'b2b', '--html', '/nowhere/r.html'],
      /\/nowhere\/r\.html cannot be written: ENOENT/,
    ],
    [
      'a configuration that is wrong',
      ['--workload', 'b2b', '--config', 'test/fixtures/traces/mooncake-form.jsonl'],
      /mooncake-form\.jsonl/,
    ],
  ] as const) {
    it(`refuses ${what}`, async () => {
      await assert.rejects(refusal(args), message)
    })
  }

  it('names every problem of a table of engines, and every bad line of a trace', async () => {
    const table = file('bad.yaml', 'engines: [{ stepMs: -1, kvToken: 5 }, 7]')
    const tables = await said(['--workload', 'b2b', '--cost-model', table])
    assert.match(tables, /engines\[0\] has no field "kvToken"; there are: stepMs, /)
    assert.match(tables, /engines\[0\]\.stepMs must be a number above 0, got -1/)
    assert.match(tables, /engines\[1\] must be a table of numbers/)
    const trace = file('bad.jsonl', 'x\n{}\n')
    assert.match(
      epp('--trace', trace).stderr,
      /bad\.jsonl:1: not JSON.*\n.*bad\.jsonl:2: timestamp/,
    )
  })
})
