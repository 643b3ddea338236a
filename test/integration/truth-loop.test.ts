import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../e2e/process.ts'
import { tokenizersDir } from '../fixtures.ts'
import { Fleet, profile } from './truth-fleet.ts'

/** Requests within which a fault must be named. */
const SOON = 30

describe('the truth loop', function () {
  this.timeout(60_000)
  let fleet: Fleet
  const LOST = 'KV events predict wrong and are not believed'
  const REGAINED = 'KV events predict right again and are believed'

  afterEach(() => fleet.close())

  /** Names the fault within 30 requests, shows it, and routes by the picker's own picks. */
  async function isNamed(reason: string, group: string): Promise<void> {
    const asked = await fleet.askUntil(
      async () => (await fleet.distrusted()).length > 0,
      SOON,
      group,
    )
    console.log(`      ${reason}: named after ${asked} requests`)
    const [wrong] = await fleet.distrusted()
    assert.equal(wrong!.trust.reason, reason, wrong!.trust.text)
    assert.ok(Math.abs(Date.parse(wrong!.trust.since!) - Date.now()) < 60_000)
    assert.match(
      await fleet.text('/metrics'),
      new RegExp(
        `^epp_prefix_fallback\\{endpoint="${wrong!.address}",reason="${reason}"\\} 1$`,
        'm',
      ),
    )
    const ready = await fleet.text('/readyz?verbose')
    assert.ok(ready.includes(`${wrong!.address}: its KV events do not predict`), ready)
    assert.equal(fleet.lines.filter(({ msg }) => msg === LOST).length, 1)
    const remarks: (string | undefined)[] = []
    for (let i = 0; i < 6; i++) {
      const decision = await fleet.ask(group)
      assert.ok(decision.predictedCachedTokens >= 128, 'the estimate knows where it was sent')
      assert.ok(decision.usage.cachedTokens >= 128, 'and it is there')
      assert.ok(decision.indexCoverage.distrusted! >= 1)
      remarks.push(decision.remark)
    }
    assert.ok(
      remarks.some((remark) => remark?.includes(`prove wrong (${reason})`)),
      `${remarks}`,
    )
  }

  /** Trust comes back with new conversations, and the notice goes. */
  async function isTrustedAgain(): Promise<void> {
    const groups = Array.from({ length: 12 }, (_, i) => `later-${i}`)
    let asked = 0
    for (const group of groups) {
      for (let i = 0; i < 12 && (await fleet.distrusted()).length > 0; i++, asked++) {
        await fleet.ask(group)
      }
    }
    assert.deepEqual(await fleet.distrusted(), [])
    console.log(`      trusted again after ${asked} requests`)
    assert.doesNotMatch(await fleet.text('/readyz?verbose'), /its KV events do not predict/)
    assert.doesNotMatch(await fleet.text('/metrics'), /^epp_prefix_fallback\{/m)
    const said = (message: string) => fleet.lines.filter(({ msg }) => msg === message).length
    assert.equal(said(REGAINED), said(LOST))
    // Events come a moment after the answer.
    const decision = await eventually('the events of what was asked are there', async () => {
      const found = await fleet.ask('anew')
      return found.predictedCachedTokens >= 128 ? found : undefined
    })
    assert.equal(decision.remark, undefined)
    assert.equal(decision.indexCoverage.source, 'tracked')
    assert.equal(decision.indexCoverage.distrusted, undefined)
  }

  it('believes events that predict right', async () => {
    fleet = await Fleet.start()
    for (let i = 0; i < 40; i++) await fleet.ask(`group-${i % 4}`)
    assert.deepEqual(await fleet.distrusted(), [])
    const metrics = await fleet.text('/metrics')
    const exact = [
      ...metrics.matchAll(/^epp_prefix_predictions_total\{.*result="exact".*\} (\d+)$/gm),
    ]
    assert.equal(
      exact.reduce((sum, [, count]) => sum + Number(count), 0),
      40,
      metrics,
    )
  })

  it('believes them whatever block size is configured: theirs is used', async () => {
    fleet = await Fleet.start()
    fleet.configure(
      profile('local').replace(
        'speculativeIndexing: false',
        '$&, tokenProcessorConfig: { blockSize: 64 }',
      ),
    )
    await eventually('the configuration is taken over', async () =>
      fleet.lines.some(({ msg }) => msg === 'Configuration taken over'),
    )
    for (let i = 0; i < 20; i++) await fleet.ask('one')
    assert.deepEqual(await fleet.distrusted(), [])
    assert.match(await fleet.text('/readyz?verbose'), /configured block size 64, but .* 16 is used/)
  })

  for (const isSpeculative of [false, true]) {
    it(`believes them under load while engines evict, ${isSpeculative ? 'with' : 'without'} what is expected`, async () => {
      // Caches hold a quarter of what is asked about.
      fleet = await Fleet.start({ engineFlags: { numGpuBlocks: '320' }, isSpeculative })
      let asked = 0
      const client = async () => {
        while (asked < 240) await fleet.ask(`group-${(asked++ * 7) % 60}`)
      }
      await Promise.all(Array.from({ length: 12 }, client))
      const removed = /^epp_kv_blocks_removed_total (\d+)$/m.exec(await fleet.text('/metrics'))
      assert.ok(Number(removed![1]) > 200, 'blocks were evicted')
      assert.deepEqual(
        fleet.lines.filter(({ msg }) => msg === LOST),
        [],
      )
    })
  }

  it('names events that do not come', async () => {
    fleet = await Fleet.start()
    for (let i = 0; i < 6; i++) await fleet.ask(`before-${i % 2}`)
    for (const relay of fleet.relays) relay.passage = 'cut'
    await isNamed('no-events', 'cut off')
    for (const relay of fleet.relays) relay.passage = 'whole'
    await isTrustedAgain()
  })

  it('names a gap in the events', async () => {
    fleet = await Fleet.start()
    for (let i = 0; i < 4; i++) await fleet.ask(`before-${i}`)
    for (const relay of fleet.relays) relay.passage = 'cut'
    for (let i = 0; i < 4; i++) await fleet.ask('same that was lost')
    for (const relay of fleet.relays) relay.passage = 'whole'
    for (let i = 0; i < 4; i++) await fleet.ask(`between-${i}`)
    await isNamed('gap', 'same that was lost')
    await isTrustedAgain()
  })

  it('names a block size that does not fit', async () => {
    fleet = await Fleet.start()
    for (let i = 0; i < 4; i++) await fleet.ask(`before-${i}`)
    for (const relay of fleet.relays) relay.passage = { blockTokens: 64 }
    await isNamed('block-size', 'resized')
    for (const relay of fleet.relays) relay.passage = 'whole'
    await isTrustedAgain()
  })

  for (const [what, salt, otherSalt] of [
    ['added behind the picker', undefined, "a proxy's"],
    ['taken away behind it', "a tenant's", undefined],
    ['changed behind it', "a tenant's", "a proxy's"],
  ] as const) {
    it(`names a salt that is ${what}`, async () => {
      fleet = await Fleet.start()
      fleet.salt = salt
      for (let i = 0; i < 4; i++) await fleet.ask(`before-${i}`)
      fleet.otherSalt = { salt: otherSalt }
      await isNamed('salt', 'salted')
      fleet.otherSalt = undefined
      await isTrustedAgain()
    })
  }

  it('names a salt behind an engine whose events tell none', async () => {
    fleet = await Fleet.start({ engineFlags: { engineVersion: '0.10.0' } })
    for (let i = 0; i < 4; i++) await fleet.ask(`before-${i}`)
    fleet.otherSalt = { salt: "a proxy's" }
    await isNamed('salt', 'salted')
    fleet.otherSalt = undefined
    await isTrustedAgain()
  })

  for (const [what, before, after] of [
    ['of other length', '<|im_start|>', 'Note: <|im_start|>'],
    ['of other ids and the same length', '<|im_start|>', '<|im_end|>'],
  ] as const) {
    it(`names a tokenizer whose prompts are ${what}, until the engines are asked`, async () => {
      const folder = mkdtempSync(join(tmpdir(), 'epp-tokenizers-'))
      try {
        cpSync(tokenizersDir(), folder, { recursive: true })
        const file = join(folder, 'qwen3', 'tokenizer_config.json')
        const config = JSON.parse(readFileSync(file, 'utf8'))
        config.chat_template = config.chat_template.replaceAll(before, after)
        writeFileSync(file, JSON.stringify(config))
        fleet = await Fleet.start({ engineTokenizers: folder })
        await isNamed('tokenizer', 'other template')
        fleet.configure(profile('engine'))
        await eventually('the configuration is taken over', async () =>
          fleet.lines.some(({ msg }) => msg === 'Configuration taken over'),
        )
        await isTrustedAgain()
      } finally {
        rmSync(folder, { recursive: true })
      }
    })
  }
})
