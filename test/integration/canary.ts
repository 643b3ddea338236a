import assert from 'node:assert/strict'
import type { Epp } from '../e2e/epp.ts'

/** Stands in every prompt, salt and credential that a test sends; nothing that the picker says may hold one of them. */
export const CANARY = {
  text: 'canary-text-5d1f',
  salt: 'canary-salt-8c07',
  authorization: 'Bearer canary-key-77aa',
  token: 1_987_654_321,
} as const

const PAGES = [
  '/metrics',
  '/decisions?limit=1000',
  '/endpoints',
  '/readyz?verbose',
  '/config',
] as const

/** Fails when a canary stands on a page, in the log, or in one of the answers given. */
export async function assertNoCanary(epp: Epp, answers: readonly string[]): Promise<void> {
  const said = new Map<string, string>()
  for (const path of PAGES) said.set(path, await epp.page(path))
  said.set('log', epp.process.lines.map((line) => JSON.stringify(line)).join('\n'))
  said.set('standard error', epp.process.stderr)
  said.set('answers', answers.join('\n'))
  assert.ok(said.get('log')!.includes('"Serving"'), 'the log is there to be searched')
  for (const [place, text] of said) {
    for (const [kind, canary] of Object.entries(CANARY)) {
      assert.ok(!text.includes(String(canary)), `${place} holds the ${kind}`)
    }
  }
}
