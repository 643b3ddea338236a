import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Publisher } from 'zeromq'
import { eventually } from '../e2e/process.ts'
import { tokenizersDir } from '../fixtures.ts'
import { message, stored } from '../kvcache/events.ts'
import { Conversation } from './conversation.ts'
import { inMebibytes, MEBIBYTE, residentBytes } from './memory.ts'
import { RogueEngine } from './rogue-engine.ts'

/** V8 lets garbage lie as long as there is room: with little room, what grows is what is kept. */
const LITTLE_ROOM = { NODE_OPTIONS: '--max-old-space-size=200' }

const WARM_UP_REQUESTS = 5000
const REQUESTS = 20_000
const CLIENTS = 32
const REQUEST_GROWTH_BYTES = 48 * MEBIBYTE

const MAX_LAG_MS = 250

const WARM_UP_FILES = 50
const FILES = 500
const ENDPOINTS = 4
const EVENT_GROWTH_BYTES = 32 * MEBIBYTE

describe('the memory of a picker', function () {
  this.timeout(480_000)

  it(`does not grow with ${REQUESTS} short requests`, async () => {
    const engine = await RogueEngine.start()
    const picker = await Conversation.start(
      [
        ...['--endpoint', `127.0.0.1:${engine.port}`, '--request-log', 'off'],
        ...['--tokenizers-dir', tokenizersDir()],
      ],
      LITTLE_ROOM,
    )
    try {
      let next = 0
      const ask = async (end: number) => {
        while (next < end) {
          const id = next++
          const body = JSON.stringify({ model: 'm', prompt: `request number ${id}` })
          const outcome = await picker.ask(body, { headers: { 'x-request-id': `request-${id}` } })
          assert.ok('destination' in outcome)
        }
      }
      const load = (end: number) => Promise.all(Array.from({ length: CLIENTS }, () => ask(end)))
      /** Of one page, since its lag is that since the page before. */
      const state = async () => {
        const lines = (await picker.epp.page('/metrics')).split('\n')
        const value = (sample: string) =>
          Number(lines.find((line) => line.startsWith(`${sample} `))!.split(' ')[1])
        return {
          resident: value('process_resident_memory_bytes'),
          lagMs: 1000 * value('nodejs_eventloop_lag_p99_seconds'),
        }
      }
      await load(WARM_UP_REQUESTS)
      const before = await state()
      const started = performance.now()
      await load(WARM_UP_REQUESTS + REQUESTS)
      const seconds = (performance.now() - started) / 1000
      const after = await state()
      console.log(
        `      ${Math.round(REQUESTS / seconds)} requests/s; ` +
          `resident ${inMebibytes(before.resident)}, then ${inMebibytes(after.resident)}; ` +
          `event loop p99 ${before.lagMs.toFixed(1)} ms, then ${after.lagMs.toFixed(1)} ms`,
      )
      assert.ok(after.resident - before.resident < REQUEST_GROWTH_BYTES)
      assert.ok(after.lagMs < MAX_LAG_MS)
      await picker.settled()
      await picker.serves()
    } finally {
      await picker.stop()
      await engine.stop()
    }
  })

  it(`does not grow with ${FILES} sets of endpoints that come and go while events arrive`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'epp-endpoints-'))
    const file = join(folder, 'endpoints.json')
    /** Addresses of the loopback network that no set before has had; nothing listens there. */
    const addressesOf = (set: number) =>
      Array.from({ length: ENDPOINTS }, (_, i) => `127.${10 + i}.${set >> 8}.${set & 255}`)
    const write = (set: number) => {
      const endpoints = addressesOf(set).map((address) => ({
        name: `set-${set}-${address}`,
        address,
        port: 9,
      }))
      writeFileSync(`${file}.new`, JSON.stringify({ endpoints }))
      renameSync(`${file}.new`, file)
    }
    write(0)
    const picker = await Conversation.start(['--endpoints-file', file], LITTLE_ROOM)
    const publisher = new Publisher({ linger: 0, sendHighWaterMark: 0 })
    interface Page {
      readonly address: string
      readonly blocks: number
    }
    const page = () => picker.epp.json<Page[]>('/endpoints')
    try {
      publisher.connect(String(picker.epp.process.logged('Serving')[0]!.kvEvents))
      const state = async () => ({
        resident: await residentBytes(picker.epp),
        index: await picker.count('epp_kv_index_bytes'),
        blocks: await picker.count('epp_kv_index_blocks'),
        endpoints: (await page()).length,
        series: (await picker.epp.page('/metrics')).split('\n').length,
      })
      const turn = async (set: number) => {
        write(set)
        const addresses = addressesOf(set)
        await eventually(`set ${set} is taken`, async () => {
          // Those of the set before go on, as the engines behind them would.
          for (const [i, address] of [...addresses, ...addressesOf(set - 1)].entries()) {
            const chain = String.fromCharCode(0x400 + set + i)
            const events = [{ type: 'AllBlocksCleared' }, stored({ chain, blocks: 64 })]
            await publisher.send([...message(`kv@${address}@m`, Date.now(), events)])
          }
          const now = await page()
          return (
            now.every(
              ({ address, blocks }, i) => address === `${addresses[i]}:9` && blocks === 64,
            ) || undefined
          )
        })
      }
      for (let set = 1; set <= WARM_UP_FILES; set++) await turn(set)
      const before = await state()
      for (let set = WARM_UP_FILES + 1; set <= FILES; set++) await turn(set)
      const after = await state()
      console.log(`      before ${JSON.stringify(before)}`)
      console.log(`      after  ${JSON.stringify(after)}`)
      assert.equal(after.endpoints, ENDPOINTS)
      assert.ok(after.index <= 1.25 * before.index)
      assert.ok(after.blocks <= 4 * ENDPOINTS * 64)
      assert.ok(after.series <= before.series + 10)
      assert.ok(after.resident - before.resident < EVENT_GROWTH_BYTES)
    } finally {
      publisher.close()
      await picker.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
