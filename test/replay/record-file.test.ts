import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { RecordFile } from '../../src/replay/record-file.ts'
import { CANARY } from '../integration/canary.ts'
import { RecordedTraffic, replayed } from './traffic.ts'

const DEFAULT = readFileSync('config/profiles/default.yaml', 'utf8')
const SESSIONS = `schedulingProfiles:
  - name: default
    plugins:
      - type: session-affinity-scorer
        parameters: { strategy: session_id, sessionIdConfig: { sources: [{ header: authorization }, { header: x-session-id }] } }
      - { type: cost-scorer }
`

describe('a recording', () => {
  let traffic: RecordedTraffic
  afterEach(() => traffic.close())

  it('holds no text, no ids, no salt, and of headers those that plugins read', async () => {
    traffic = await RecordedTraffic.start(SESSIONS)
    await traffic.send(300)
    await traffic.finish()
    const text = readFileSync(traffic.file, 'utf8')
    for (const [kind, canary] of Object.entries(CANARY)) {
      assert.ok(!text.includes(String(canary)), `it holds the ${kind}`)
    }
    assert.ok(!text.includes('user-'), 'it holds a request id')
    const headers = new Set(
      [...text.matchAll(/"headers":(\{[^}]*\})/g)].flatMap(([, json]) =>
        Object.keys(JSON.parse(json!)),
      ),
    )
    assert.deepEqual([...headers].sort(), ['authorization', 'x-session-id'])
    assert.match(text, /"authorization":"[0-9a-f]{8}"/)
    assert.match(text, /"salt":"[0-9a-f]{8}"/)
    const report = await replayed([traffic.file], SESSIONS)
    assert.equal(report.moved, 0)
    assert.match(report.lacks.join(), /authorization, of which a hash is recorded/)
  })

  it('is for its owner alone, and takes the place of an older one', async () => {
    traffic = await RecordedTraffic.start(DEFAULT)
    await traffic.send(10)
    await traffic.finish()
    assert.equal(statSync(traffic.file).mode & 0o777, 0o600)
    const options = { file: traffic.file, maxBytes: 1e6, version: '1' }
    const clock = { nowMs: () => 0, epochMs: () => 0 }
    const again = await RecordFile.open(options, { ...traffic.recorder, clock })
    await again.close()
    assert.equal(readFileSync(traffic.file, 'utf8').split('\n').length, 2)
    const report = await replayed([`${traffic.file}.1`], DEFAULT)
    assert.equal(report.decisions, 10)
  })

  for (const name of ['decisions.jsonl', 'decisions.jsonl.gz']) {
    it(`is bounded: ${name} and the file before it, of which each can be read alone`, async function () {
      this.timeout(60_000)
      const maxBytes = name.endsWith('gz') ? 400_000 : 600_000
      traffic = await RecordedTraffic.start(DEFAULT, { name, maxBytes })
      for (let i = 0; i < 30; i++) {
        await traffic.send(100)
        // The disk is given time, so that nothing is dropped.
        await new Promise((resolve) => setImmediate(resolve))
      }
      await traffic.finish()
      const { file, folder } = traffic
      assert.deepEqual(traffic.recorder.notices.list(), [])
      assert.deepEqual(readdirSync(folder).sort(), [name, `${name}.1`])
      const bytes = statSync(file).size + statSync(`${file}.1`).size
      console.log(`      ${bytes} bytes of ${maxBytes}`)
      assert.ok(bytes <= maxBytes, `${bytes} bytes`)
      // Where the last file was begun with the last decision, it has none yet.
      const newer = await replayed([file], DEFAULT).catch((error: Error) => {
        assert.match(error.message, /^no decision in /)
        assert.ok(statSync(file).size < 1000)
        return { decisions: 0, moved: 0 }
      })
      const both = await replayed([`${file}.1`, file], DEFAULT)
      assert.ok(both.decisions > newer.decisions)
      assert.ok(both.decisions < 3000, 'the oldest went')
      assert.equal(both.moved + newer.moved, 0)
      assert.equal(await traffic.recorder.value('epp_recorded_decisions_total'), 3000)
      assert.equal(await traffic.recorder.value('epp_recording_dropped_total'), 0)
    })
  }

  it('that breaks off is read up to there', async () => {
    traffic = await RecordedTraffic.start(DEFAULT)
    await traffic.send(40)
    await traffic.finish()
    const text = readFileSync(traffic.file, 'utf8')
    writeFileSync(traffic.file, text.slice(0, text.lastIndexOf('"k":"d"') + 40))
    const report = await replayed([traffic.file], DEFAULT)
    assert.equal(report.decisions, 39)
    assert.match(report.cut.join(), /decisions\.jsonl: line \d+ breaks off/)
  })

  it('that breaks off within compressed data is read up to there', async () => {
    traffic = await RecordedTraffic.start(DEFAULT, { name: 'd.gz' })
    await traffic.send(200)
    await new Promise((resolve) => setImmediate(resolve))
    await traffic.send(200)
    await traffic.finish()
    const bytes = readFileSync(traffic.file)
    assert.ok(gunzipSync(bytes).length > 100_000)
    writeFileSync(traffic.file, bytes.subarray(0, Math.floor(bytes.length * 0.7)))
    const report = await replayed([traffic.file], DEFAULT)
    assert.ok(report.decisions > 50 && report.decisions < 400, `${report.decisions} decisions`)
    assert.match(report.cut.join(), /compressed data breaks off after line \d+/)
    assert.equal(report.moved, 0)
  })

  it('that is none, of another format or damaged is refused, with the line', async () => {
    traffic = await RecordedTraffic.start(DEFAULT)
    await traffic.send(3)
    await traffic.finish()
    const good = readFileSync(traffic.file, 'utf8').split('\n')
    const refusal = async (lines: readonly string[]) => {
      const file = join(traffic.folder, 'changed')
      writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
      try {
        const { decisions } = await replayed([file], DEFAULT)
        return `read ${decisions}`
      } catch (error) {
        return (error as Error).message.replaceAll(traffic.folder, '')
      }
    }
    const last = good.findLastIndex((line) => line.includes('"k":"d"'))
    const changed = (from: RegExp, to: string) => [
      ...good.slice(0, last),
      good[last]!.replace(from, to),
    ]
    const GIVE = 'give a file that epp serve --record wrote'
    const at = `/changed:${last + 1}:`
    const CUT = 'the recording is damaged: cut it off before this line to use what is above'
    assert.deepEqual(
      {
        good: await refusal(good.slice(0, -1)),
        empty: await refusal([]),
        text: await refusal(['hello']),
        foreign: await refusal(['{"a":1}']),
        future: await refusal([good[0]!.replace('"format":1', '"format":2'), ...good.slice(1)]),
        noDecision: await refusal(good.slice(0, 1)),
        torn: await refusal([...good.slice(0, last), good[last]!.slice(0, 50), '{}']),
        kind: await refusal([...good.slice(0, last), '{"k":"z"}']),
        seed: await refusal(changed(/"s":\d+/, '"s":-1')),
        pick: await refusal(changed(/"pick":\[\d+/, '"pick":[99')),
        generation: await refusal(changed(/"g":1/, '"g":7')),
        count: await refusal(changed(/"f":\{"b":[^,\]]+/, '"f":{"b":[1,2]')),
      },
      {
        good: 'read 3',
        empty: `/changed: the file is empty; ${GIVE}`,
        text: `/changed:1: no recording: the first line is not JSON; ${GIVE}`,
        foreign: `/changed:1: no recording: the first line does not begin with {"recording":"endpoint-picker"; ${GIVE}`,
        future:
          '/changed:1: format 2, written by version 1.2.3; this version reads format 1: use the version that wrote it',
        noDecision: 'no decision in /changed; record while requests come in',
        torn: `${at} not JSON; ${CUT}`,
        kind: `${at} a line of the unknown kind "z"; ${CUT}`,
        seed: `${at} /s must be >= 0; ${CUT}`,
        pick: `${at} endpoint 99 is not told before; ${CUT}`,
        generation: `${at} configuration 7 is not told before; ${CUT}`,
        count: `${at} 2 values for 8 candidates; ${CUT}`,
      },
    )
  })

  it('that cannot be written is said at the start', async () => {
    traffic = await RecordedTraffic.start(DEFAULT)
    const folder = join(traffic.folder, 'folder')
    mkdirSync(folder)
    const link = join(traffic.folder, 'link')
    symlinkSync(traffic.file, link)
    const clock = { nowMs: () => 0, epochMs: () => 0 }
    const reason = async (file: string) => {
      try {
        const options = { file, maxBytes: 1e6, version: '1' }
        await (await RecordFile.open(options, { ...traffic.recorder, clock })).close()
        return 'opened'
      } catch (error) {
        return (error as Error).message.replaceAll(traffic.folder, '')
      }
    }
    const advice = 'name a file in a folder that is there and can be written to'
    assert.deepEqual(
      [await reason(folder), await reason(link), await reason(join(traffic.folder, 'no', 'file'))],
      [
        `--record /folder cannot be written: it is there and no file; ${advice}`,
        `--record /link cannot be written: it is there and no file; ${advice}`,
        `--record /no/file cannot be written: ENOENT; ${advice}`,
      ],
    )
    assert.ok(existsSync(folder))
  })

  it('drops and counts what the disk does not take in time, and goes on with whole states', async function () {
    this.timeout(60_000)
    traffic = await RecordedTraffic.start(DEFAULT)
    const { file } = traffic.recording
    await traffic.send(20)
    // More than may wait, while the disk has had no time.
    const filler = `{"k":"o","q":0,"end":"completed","ms":1,"x":"${'x'.repeat(1_000_000)}"}`
    for (let i = 0; i < 9; i++) file.add([filler], 0)
    await traffic.send(1)
    const dropped = async () => traffic.recorder.value('epp_recording_dropped_total')
    assert.equal(await dropped(), 1)
    const deadlineMs = performance.now() + 20_000
    let recorded = 0
    while (performance.now() < deadlineMs && recorded < 20) {
      const before = await dropped()
      await traffic.send(1)
      if ((await dropped()) === before) recorded++
      await new Promise((resolve) => setImmediate(resolve))
    }
    await traffic.finish()
    assert.ok(
      traffic.recorder.lines.some((line) => line.includes('Decisions are not recorded')),
      'said once',
    )
    const report = await replayed([traffic.file], DEFAULT)
    assert.equal(report.decisions, 40)
    assert.equal(report.moved, 0)
  })

  it('tells everything again after a reload', async () => {
    traffic = await RecordedTraffic.start(DEFAULT)
    await traffic.send(30)
    await traffic.setup.take(SESSIONS)
    await traffic.send(30)
    await traffic.finish()
    appendFileSync(traffic.file, '')
    const report = await replayed([traffic.file], SESSIONS)
    assert.deepEqual(report.reproduced, { decisions: 60, same: 60, problems: [] })
    const generations = readFileSync(traffic.file, 'utf8').match(/"k":"c"/g)
    assert.equal(generations?.length, 2)
  })
})
