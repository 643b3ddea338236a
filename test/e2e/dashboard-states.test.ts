import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { AdminServer } from '../../src/admin/server.ts'
import type { AdminSources } from '../../src/admin/sources.ts'
import { assertAccessible, chromiumPath, openPage, SCREENSHOTS, startBrowser } from './browser.ts'
import { MAX_LAYOUT_SHIFT, open, polls, THEMES, textOf } from './dashboard-page.ts'
import { HOSTILE, hostileNames, manyEndpoints } from './dashboard-sources.ts'
import { eventually } from './process.ts'

const FIRST_PAGE_MS = 2000
const WATCHED_POLLS = 4
/** Of the 300 that are made up: three without metrics, three with a gap, one ejected. */
const IN_TROUBLE = 7

describe('dashboard of made-up state', function () {
  this.timeout(240_000)
  let browser: Browser
  const path = chromiumPath()

  before(async function () {
    if (path === undefined) return this.skip()
    browser = await startBrowser(path)
  })
  after(() => browser?.close())

  const closing: (() => Promise<unknown>)[] = []
  const serve = async (sources: AdminSources, token?: string) => {
    const server = new AdminServer(sources, { host: '127.0.0.1', port: 0, token })
    const url = `http://127.0.0.1:${await server.start()}`
    closing.push(() => server.close())
    return url
  }
  const openMade = async (url: string, options = {}) => {
    const watched = await openPage(browser, url, options)
    closing.unshift(() => watched.page.context().close())
    return watched
  }
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })

  for (const colorScheme of THEMES) {
    it(`works at 300 endpoints in ${colorScheme}`, async () => {
      const url = await serve(manyEndpoints(300))
      const { page, faults, layoutShift } = await openMade(url, { colorScheme })
      const startedMs = performance.now()
      await open(page, url)
      const shownMs = performance.now() - startedMs
      console.log(
        `      300 endpoints shown after ${Math.round(shownMs)} ms (limit ${FIRST_PAGE_MS})`,
      )
      assert.ok(shownMs < 10 * FIRST_PAGE_MS)
      assert.equal(await page.locator('#endpoint-cells button').count(), 300)
      assert.equal(await page.locator('#endpoint-rows tr:not([hidden])').count(), 300)
      // Trouble comes first.
      const states = await page
        .locator('#endpoint-rows tr')
        .evaluateAll((rows) => rows.map((row) => row.getAttribute('data-state')))
      const inTrouble = states.filter((state) => state === 'bad').length
      assert.equal(inTrouble, IN_TROUBLE)
      assert.deepEqual(states.slice(0, inTrouble), Array(inTrouble).fill('bad'))
      await polls(page, WATCHED_POLLS)
      const addresses = await page
        .locator('#endpoint-rows tr small:first-of-type')
        .evaluateAll((all) =>
          all.map((each) => each.textContent).filter((text) => text?.includes(':')),
        )
      assert.equal(new Set(addresses).size, 300, 'every endpoint has its row')
      const shift = await layoutShift()
      console.log(`      layout shift ${shift.toFixed(4)} (limit ${MAX_LAYOUT_SHIFT})`)
      assert.ok(shift < MAX_LAYOUT_SHIFT)
      await assertAccessible(page, `300 endpoints, ${colorScheme}`)
      await page.screenshot({ path: join(SCREENSHOTS, `300-${colorScheme}.png`), fullPage: true })
      await page.locator('#endpoint-filter').fill('qwen-42')
      await eventually(
        'the filter leaves one',
        async () => (await textOf(page, '#endpoints-shown')) === '1 of 300',
      )
      assert.match(await textOf(page, '#endpoint-rows tr'), /! ejected/)
      assert.deepEqual(faults, [])
    })
  }

  it('shows hostile names as text', async () => {
    const url = await serve(hostileNames())
    const { page, faults } = await openMade(url)
    await open(page, url)
    for (const selector of ['#endpoint-rows tr', '#decision-rows tr', '#notices', '#checks']) {
      assert.ok((await textOf(page, selector)).includes(HOSTILE), selector)
    }
    await page.locator('#decision-rows tr').first().click()
    await page.waitForSelector('#detail-body table')
    assert.ok((await textOf(page, '#detail')).includes(HOSTILE))
    await page.keyboard.press('Escape')
    await page.locator('#endpoint-rows tr').first().click()
    await eventually('its labels are text', async () =>
      (await textOf(page, '#detail-body')).includes(HOSTILE),
    )
    assert.equal(await page.locator('img[src="x"], body b b').count(), 0)
    assert.equal(await page.title(), 'endpoint-picker')
    assert.deepEqual(faults, [])
  })

  it('asks for the token, keeps it for this tab, and says when it is wrong', async () => {
    const url = await serve(manyEndpoints(3), 'open sesame')
    const { page } = await openMade(url)
    await page.goto(url)
    await page.waitForSelector('#token:not([hidden])')
    await assertAccessible(page, 'the form for the token')
    await page.locator('#token-value').fill('wrong')
    await page.keyboard.press('Enter')
    await eventually('the wrong one is refused', async () =>
      (await textOf(page, '#token-problem')).includes('does not take this token'),
    )
    await page.locator('#token-value').fill('open sesame')
    await page.keyboard.press('Enter')
    await page.waitForSelector('main:not(.waiting)')
    await page.reload()
    await page.waitForSelector('main:not(.waiting)')
    assert.equal(await page.evaluate('localStorage.length'), 0)
  })

  it('does not look alive while an answer does not come', async () => {
    const url = await serve(manyEndpoints(3))
    const { page, faults } = await openMade(url)
    await open(page, url)
    let hangs = 0
    await page.route('**/overview*', () => {
      hangs++
    })
    await eventually('the silence is said', async () =>
      /not reached since .*: no answer yet/.test(await textOf(page, '#connection')),
    )
    assert.equal(hangs, 1)
    await page.unrouteAll({ behavior: 'ignoreErrors' })
    await eventually(
      'it is live again',
      async () => (await textOf(page, '#connection')).includes('live'),
      20_000,
    )
    assert.deepEqual(faults, [])
  })

  it('asks one thing at a time, and nothing while it is paused or nobody looks', async () => {
    const sources = manyEndpoints(3)
    const url = await serve(sources)
    const { page } = await openMade(url)
    let under = 0
    let most = 0
    let asked = 0
    await page.route('**/overview*', async (route) => {
      asked++
      most = Math.max(most, ++under)
      const answer = await route.fetch()
      under--
      await route.fulfill({ response: answer })
    })
    await open(page, url)
    await polls(page, 2)
    assert.equal(most, 1)
    await page.locator('#pause').click()
    assert.match(await textOf(page, '#connection'), /paused/)
    // A poll that was under way has ended before the page is hidden, and no timer is left to start another.
    await eventually('none is under way', () => under === 0)
    const paused = asked
    const hide = (hidden: boolean) =>
      page.evaluate(
        `Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))`,
      )
    await hide(true)
    await page.locator('#pause').click()
    assert.equal(asked, paused)
    await hide(false)
    await polls(page, 1)
    assert.ok(asked > paused)
  })
})
