import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, join, resolve } from 'node:path'
import type { EntryType } from 'node:perf_hooks'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

const UNPACKED = resolve('.cache/chromium-debian/chromium')
export const SCREENSHOTS = resolve('.cache/screenshots')
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** The Chromium of this machine, else the one that scripts/install-chromium.sh has fetched; in CI there must be one. */
export function chromiumPath(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const found = [...folders.map((folder) => join(folder, 'chromium')), UNPACKED].find(existsSync)
  if (found !== undefined) return found
  if (process.env.CI) throw new Error('no chromium; run scripts/install-chromium.sh')
  console.log('      SKIPPED: no chromium; run scripts/install-chromium.sh')
  return undefined
}

/** A Chromium that asks nobody anything of its own accord. */
export function startBrowser(path: string): Promise<Browser> {
  mkdirSync(SCREENSHOTS, { recursive: true })
  return chromium.launch({
    executablePath: path,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
      ...[
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-dev-shm-usage',
      ],
    ],
  })
}

/** A page, and all that went wrong in it. */
export interface Watched {
  readonly page: Page
  /** Exceptions, errors on the console (refusals of the CSP are some), and requests to another host. */
  readonly faults: string[]
  /** The sum of its layout shifts so far, those that follow a user's input left out. */
  layoutShift(): Promise<number>
}

/** @param origin the one host that the page may ask */
export async function openPage(
  browser: Browser,
  origin: string,
  options: BrowserContextOptions = {},
): Promise<Watched> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options })
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(`exception: ${error.message}`))
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(`console: ${message.text()}`)
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`)) faults.push(`asked ${request.url()}`)
  })
  await page.addInitScript(() => {
    const shifts: number[] = []
    Object.assign(globalThis, { shifts })
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as unknown as {
        readonly value: number
        readonly hadRecentInput: boolean
      }[]) {
        if (!entry.hadRecentInput) shifts.push(entry.value)
      }
    }).observe({ type: 'layout-shift' as EntryType, buffered: true })
  })
  return {
    page,
    faults,
    layoutShift: () =>
      page.evaluate(() =>
        (globalThis as unknown as { shifts: number[] }).shifts.reduce((a, b) => a + b, 0),
      ),
  }
}

interface AxeViolation {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly html: string; readonly failureSummary: string }[]
}

/** Fails where axe-core finds something serious or critical, colour contrast (WCAG AA) among it. */
export async function assertAccessible(page: Page, what: string): Promise<void> {
  await page.evaluate(AXE)
  const { violations, passes } = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: AxeViolation[]; passes: { id: string }[] }> }
    }
    const results = await axe.run()
    return { violations: results.violations, passes: results.passes.map(({ id }) => id) }
  })
  const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
  const words = bad.map(
    ({ id, nodes }) =>
      `${id}: ${nodes
        .slice(0, 3)
        .map(({ html, failureSummary }) => `${html} ${failureSummary}`)
        .join('\n')}`,
  )
  assert.deepEqual(words, [], what)
  assert.ok(passes.includes('color-contrast'), `${what}: contrast was not looked at`)
}

/** Says which Chromium it is. */
export function versionOf(path: string): string {
  return execFileSync(path, ['--version'], { encoding: 'utf8' }).trim()
}
