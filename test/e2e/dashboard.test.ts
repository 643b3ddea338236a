import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { assertAccessible, chromiumPath, openPage, SCREENSHOTS, startBrowser } from './browser.ts'
import { DashboardFleet, MODEL } from './dashboard-fleet.ts'
import { MAX_LAYOUT_SHIFT, open, polls, THEMES, textOf } from './dashboard-page.ts'
import { eventually } from './process.ts'

interface DecisionPage {
  readonly requestId: string
  readonly endpoints: readonly string[]
  readonly model: string
  readonly promptTokens: { readonly count: number }
  readonly predictedCachedTokens: number
  readonly status: number
  readonly usage: { readonly promptTokens: number; readonly cachedTokens: number }
  readonly profiles: readonly {
    readonly endpoints: readonly {
      readonly endpoint: string
      readonly total: number
      readonly matchedTokens: number
      readonly scores: Readonly<Record<string, { readonly weighted: number }>>
    }[]
  }[]
}
interface EndpointLine {
  readonly name: string
  readonly address: string
  readonly blocks: number
  readonly cache: { readonly promptTokens: number; readonly cachedTokens: number }
}

const whole = (value: number) => new Intl.NumberFormat('en').format(value)
const percent = (share: number) => `${(share * 100).toFixed(1)} %`

describe('dashboard of the built picker with three engines', function () {
  this.timeout(240_000)
  let browser: Browser
  let fleet: DashboardFleet
  const path = chromiumPath()

  before(async function () {
    if (path === undefined) return this.skip()
    browser = await startBrowser(path)
    fleet = await DashboardFleet.start()
    await fleet.converse('chat', 3, 4)
  })
  after(async () => {
    await browser?.close()
    await fleet?.stop()
  })

  const closing: (() => Promise<unknown>)[] = []
  const openFleetPage = async (options = {}, hash = '') => {
    const watched = await openPage(browser, fleet.url, options)
    closing.push(() => watched.page.context().close())
    await open(watched.page, fleet.url + hash)
    return watched
  }

  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })

  it('shows the numbers of /decisions and /endpoints', async () => {
    const { page, faults } = await openFleetPage()
    await eventually('the last answers are on the page', async () =>
      (await textOf(page, '#figures')).includes('12 since the start'),
    )
    const decisions = await fleet.epp.json<DecisionPage[]>('/decisions')
    const endpoints = await fleet.epp.json<EndpointLine[]>('/endpoints')
    assert.equal(decisions.length, 12)
    const nameOf = (address: string) => endpoints.find((each) => each.address === address)!.name
    const rows = await page
      .locator('#decision-rows tr:not([hidden])')
      .evaluateAll((all) =>
        all.map((row) => [...row.children].map((cell) => cell.textContent ?? '')),
      )
    assert.equal(rows.length, 12)
    for (const [i, decision] of decisions.entries()) {
      const [, id, model, endpoint, why, margin, matched, status, firstByte] = rows[i]!
      const ranked = decision.profiles[0]!.endpoints.toSorted((a, b) => b.total - a.total)
      const won = ranked.find((each) => each.endpoint === decision.endpoints[0])!
      const second = ranked.find((each) => each !== won)!
      assert.equal(id, decision.requestId)
      assert.equal(model, MODEL)
      assert.equal(endpoint, nameOf(decision.endpoints[0]!))
      assert.equal(margin, (won.total - second.total).toFixed(2))
      assert.equal(
        matched,
        `${whole(decision.predictedCachedTokens)} / ${whole(decision.promptTokens.count)}`,
      )
      assert.equal(status, `${decision.status}`)
      assert.match(firstByte!, /^\d[\d.]* m?s$/)
      const shares = Object.values(won.scores).map(({ weighted }) => weighted.toFixed(2))
      for (const share of shares) assert.ok(why!.includes(share), `${why} has no ${share}`)
      assert.ok(why!.includes(`${second.total.toFixed(2)} =`), why)
    }
    const cached = decisions.reduce((sum, { usage }) => sum + usage.cachedTokens, 0)
    const prompt = decisions.reduce((sum, { usage }) => sum + usage.promptTokens, 0)
    assert.ok(cached > 0)
    await eventually('the figures are those of the decisions', async () => {
      const figures = await textOf(page, '#figures')
      return figures.includes(percent(cached / prompt)) && figures.includes(whole(cached))
    })
    for (const { name, address, blocks, cache } of endpoints) {
      const row = await textOf(page, `#endpoint-rows tr[data-address="${address}"]`)
      assert.ok(row.includes(name))
      assert.ok(row.includes(`${whole(blocks)} blocks`), `${row}: ${blocks} blocks`)
      assert.ok(row.includes(percent(cache.cachedTokens / cache.promptTokens)), row)
      assert.ok(row.includes('tracked'), row)
    }
    const health = await eventually('what is blind is on the page', async () => {
      const shown = await textOf(page, '#health')
      const notices = /^\[!\] .*/gm.exec(await fleet.epp.page('/readyz?verbose'))
      return shown.includes(notices ? 'blind or stale' : 'Nothing is blind') ? shown : undefined
    })
    assert.match(health, /ports\s+all are open/)
    assert.match(await textOf(page, '#config-text'), /precise-prefix-cache-scorer, weight: 3/)
    assert.deepEqual(faults, [])
  })

  it('opens the whole table of a decision by key, link and address', async () => {
    const [decision] = await fleet.epp.json<DecisionPage[]>('/decisions?limit=1')
    const { page, faults } = await openFleetPage()
    const row = page.locator('#decision-rows tr').first()
    await row.focus()
    await page.keyboard.press('Enter')
    await page.waitForSelector('#detail-body table')
    assert.equal(new URL(page.url()).hash, `#decision/${decision!.requestId}`)
    const table = await textOf(page, '#detail-body table')
    for (const { endpoint, total, matchedTokens } of decision!.profiles[0]!.endpoints) {
      assert.ok(table.includes(endpoint), table)
      assert.ok(table.includes(total.toFixed(2)))
      assert.ok(table.includes(whole(matchedTokens)))
    }
    const { usage, predictedCachedTokens } = decision!
    assert.match(
      await textOf(page, '#detail-body dl'),
      new RegExp(`${predictedCachedTokens} predicted, ${usage.cachedTokens} cached`),
    )
    for (const _ of Array(8)) {
      await page.keyboard.press('Tab')
      const isInside = await page.evaluate<boolean>(
        'document.activeElement === document.body || document.activeElement.closest("dialog") !== null',
      )
      assert.ok(isInside, 'the focus has left the dialog')
    }
    await page.keyboard.press('Escape')
    assert.equal(await page.locator('dialog[open]').count(), 0)
    await eventually('the address and the focus are as before', async () => {
      const focused = await page.locator('#decision-rows tr:first-child:focus').count()
      return (new URL(page.url()).hash === '' && focused === 1) || undefined
    })

    await page.goto(`${fleet.url}/#decision/${decision!.requestId}`)
    await page.reload()
    await page.waitForSelector('#detail-body table')
    await page.locator('#detail-close').click()
    await page.goto(`${fleet.url}/#decision/none`)
    await eventually('an unknown one is said', async () =>
      (await textOf(page, '#detail-body')).includes('no decision for request "none"'),
    )
    assert.deepEqual(
      faults.filter((fault) => !fault.includes('404')),
      [],
    )
  })

  it('opens an endpoint with its labels and publishers', async () => {
    const { page } = await openFleetPage()
    await page.locator('#endpoint-rows tr').first().click()
    await eventually('its publisher is told of', async () =>
      (await textOf(page, '#detail-body')).includes(`kv@127.0.77.`),
    )
  })

  it('follows traffic without shifting its layout', async () => {
    const { page, faults, layoutShift } = await openFleetPage()
    await fleet.converse('more', 3, 3)
    await eventually('the new decisions are shown', async () =>
      (await textOf(page, '#decision-rows tr')).includes('more-2-turn-3'),
    )
    await polls(page, 2)
    const shift = await layoutShift()
    console.log(`      layout shift ${shift.toFixed(4)} (limit ${MAX_LAYOUT_SHIFT})`)
    assert.ok(shift < MAX_LAYOUT_SHIFT)
    assert.deepEqual(faults, [])
  })

  it('holds the decisions still while one of them is focused', async () => {
    const { page } = await openFleetPage()
    const first = page.locator('#decision-rows tr').first()
    await first.focus()
    const before = await first.getAttribute('data-request')
    await fleet.ask('while-held', [1, 2, 3])
    await eventually('it is said', async () =>
      (await textOf(page, '#decisions-shown')).includes('held while you look, 1 newer'),
    )
    assert.equal(await first.getAttribute('data-request'), before)
    await page.locator('#pause').focus()
    await eventually('they go on', async () => {
      return (await first.getAttribute('data-request')) === 'while-held'
    })
  })

  it('says what is blind, and what became of a changed configuration', async () => {
    const { page, layoutShift } = await openFleetPage()
    fleet.configure((text) => text.replace('queue-scorer', 'queue-scorerr'))
    await eventually('the refusal is first on the page', async () => {
      const health = await textOf(page, '#health')
      return /blind or stale/.test(health) && health.includes('is not in force, generation 1')
    })
    await eventually('the section of the configuration has it', async () =>
      (await textOf(page, '#config-facts')).includes('✕ refused'),
    )
    fleet.configure((text) => text.replace('weight: 4', 'weight: 5'))
    await eventually('the next one is in force', async () => {
      const facts = await textOf(page, '#config-facts')
      return facts.includes('✓ taken over') && /Generation\s+2/.test(facts)
    })
    assert.match(await textOf(page, '#config-text'), /weight: 5/)
    assert.ok((await layoutShift()) < MAX_LAYOUT_SHIFT)
  })

  it('shows each chart as words and as a table', async () => {
    const { page } = await openFleetPage()
    assert.equal(await page.locator('#charts canvas').count(), 4)
    const words = await page.locator('#charts .visually-hidden').allInnerTexts()
    assert.match(words.join('\n'), /Hit rate\. highest possible: now [\d.]+ %/)
    const toggle = page.getByRole('button', { name: 'Requests per second as a table' })
    await toggle.focus()
    await page.keyboard.press('Enter')
    assert.match(await textOf(page, '.chart-table:not([hidden])'), /Time\s+qwen-0\s+qwen-1/)
    assert.equal(await toggle.getAttribute('aria-expanded'), 'true')
  })

  it('is walked with the keyboard', async () => {
    const { page } = await openFleetPage()
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate('document.activeElement.className'), 'skip')
    await page.keyboard.press('Enter')
    assert.equal(await page.evaluate('document.activeElement.id'), 'main')
    const reached = new Set<string>()
    for (let i = 0; i < 25; i++) {
      await page.keyboard.press('Tab')
      const { name, outline } = await page.evaluate<{ name: string; outline: string }>(
        '({ name: document.activeElement.id || document.activeElement.tagName, outline: getComputedStyle(document.activeElement).outlineStyle })',
      )
      if (name !== 'BODY') assert.notEqual(outline, 'none', `${name} has no visible focus`)
      reached.add(name)
    }
    for (const name of ['endpoint-filter', 'endpoint-order', 'TR', 'config-text']) {
      assert.ok(reached.has(name), `${name} is not reached: ${[...reached].join(', ')}`)
    }
    await page.locator('#endpoint-rows tr').first().focus()
    await page.keyboard.press('ArrowDown')
    assert.equal(await page.locator('#endpoint-rows tr:nth-child(2):focus').count(), 1)
  })

  it('fits 360 pixels', async () => {
    const { page } = await openFleetPage({ viewport: { width: 360, height: 760 } })
    assert.ok((await page.evaluate<number>('document.documentElement.scrollWidth')) <= 360)
    await page.screenshot({ path: join(SCREENSHOTS, '3-narrow.png'), fullPage: true })
  })

  for (const colorScheme of THEMES) {
    it(`is accessible in ${colorScheme}, and looks as its screenshot`, async () => {
      const { page } = await openFleetPage({ colorScheme, reducedMotion: 'reduce' })
      await assertAccessible(page, `three endpoints, ${colorScheme}`)
      await page.screenshot({ path: join(SCREENSHOTS, `3-${colorScheme}.png`), fullPage: true })
      await page.locator('#decision-rows tr').first().click()
      await page.waitForSelector('#detail-body table')
      await assertAccessible(page, `a decision, ${colorScheme}`)
      await page.screenshot({ path: join(SCREENSHOTS, `3-decision-${colorScheme}.png`) })
    })
  }

  it('lets its theme be chosen, and keeps the choice', async () => {
    const { page } = await openFleetPage({ colorScheme: 'light' })
    const ground = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
    const light = await ground()
    await page.locator('#theme').click()
    assert.notEqual(await ground(), light)
    await page.reload()
    await page.waitForSelector('main:not(.waiting)')
    assert.notEqual(await ground(), light)
  })

  it('says how often a profile in the shadow agrees, and what it would have picked', async () => {
    fleet.configure(
      (text) =>
        `${text}  - name: trial\n    shadow: true\n    plugins:\n      - { type: random-picker }\n`,
    )
    await eventually('the shadow is in force', async () => {
      const { text } = await fleet.epp.json<{ text: string }>('/config')
      return text.includes('shadow: true') || undefined
    })
    for (let i = 0; i < 4; i++) await fleet.ask(`shadowed-${i}`, [7, i])
    const { page, faults } = await openFleetPage()
    await eventually('the agreement is on the page', async () =>
      /shadow trial agrees in [0-4] of 4/.test(await textOf(page, '#decisions-shown')),
    )
    await page.goto(`${fleet.url}/#decision/shadowed-3`)
    await page.waitForSelector('#detail-body table')
    assert.match(
      await textOf(page, '#detail-body dl'),
      /Shadow trial\s+would pick (the same|qwen-\d)/,
    )
    assert.deepEqual(faults, [])
    fleet.configure((text) => text)
  })

  it('says when the picker is not reached, and goes on when it is back', async () => {
    const { page } = await openFleetPage()
    const { metrics } = fleet.epp.ports
    await fleet.stop()
    await eventually('the loss is said', async () =>
      /not reached since \d\d:\d\d:\d\d/.test(await textOf(page, '#connection')),
    )
    assert.equal(await page.getAttribute('body', 'data-connection'), 'lost')
    assert.match(await textOf(page, '#health-title'), /not reached: all below is from \d\d:/)
    assert.equal(await textOf(page, '#ready'), '? unknown')
    await page.screenshot({ path: join(SCREENSHOTS, '3-lost.png') })
    fleet = await DashboardFleet.start(metrics)
    await eventually('it is live again', async () => {
      return (await textOf(page, '#connection')).includes('live')
    })
    await eventually('nothing is left of the loss', async () => {
      return (await textOf(page, '#ready')) === '✓ ready'
    })
    await fleet.ask('after-the-loss', [4, 5, 6])
    await eventually('the new picker is shown', async () =>
      (await textOf(page, '#decision-rows tr')).includes('after-the-loss'),
    )
  })
})
