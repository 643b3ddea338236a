import type { Page } from 'playwright-core'

export const MAX_LAYOUT_SHIFT = 0.02
export const THEMES = ['light', 'dark'] as const

/** Opens the page and waits until it shows something. */
export const open = (page: Page, url: string) =>
  page.goto(url).then(() => page.waitForSelector('main:not(.waiting)'))

/** The text of the first that fits, as it is seen. */
export const textOf = (page: Page, selector: string) =>
  page.locator(selector).first().innerText({ timeout: 20_000 })

/** Waits until the page has asked so many times more. */
export async function polls(page: Page, count: number) {
  for (let i = 0; i < count; i++) {
    await page.waitForResponse((response) => response.url().includes('/overview'))
  }
}
