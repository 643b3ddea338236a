import assert from 'node:assert/strict'
import fc from 'fast-check'
import { JinjaTemplate } from '../../../src/tokenize/jinja/jinja-template.ts'
import { expression, SNIPPET_VARIABLES, snippet } from './jinja-snippets.ts'
import { Reference, referenceAvailable } from './reference.ts'

const COUNT = Number(process.env.EPP_SNIPPETS ?? 1500)
const SEED = Number(process.env.EPP_SEED ?? 6)

interface Answer {
  readonly text?: string
  readonly error?: string
}

describe('JinjaTemplate', () => {
  let reference: Reference
  before(function () {
    if (!referenceAvailable()) return this.skip()
    reference = new Reference('render.py')
  })
  after(() => reference?.close())

  for (const [what, templates] of [
    ['expressions', expression.map((one) => `{{ ${one} }}`)],
    ['statements', snippet],
  ] as const) {
    it(`renders generated ${what} as Jinja2 does, or refuses them`, async function () {
      this.timeout(200_000)
      const sources = fc.sample(templates, { seed: SEED, numRuns: COUNT })
      const asked = sources.flatMap((template) => [
        reference.ask<Answer>({ add: 't', template }),
        reference.ask<Answer>({ render: 't', variables: SNIPPET_VARIABLES }),
      ])
      const answers = await Promise.all(asked)
      const counts = { equal: 0, bothRefuse: 0, onlyHere: 0, onlyThere: 0 }
      const refusals = new Map<string, number>()
      for (const [i, source] of sources.entries()) {
        const added = answers[2 * i]!
        const theirs = added.error === undefined ? answers[2 * i + 1]!.text : undefined
        let ours: string | undefined
        try {
          ours = new JinjaTemplate(source).render(SNIPPET_VARIABLES)
        } catch (error) {
          const why = (error as Error).message
          if (theirs !== undefined) refusals.set(why, (refusals.get(why) ?? 0) + 1)
        }
        if (ours !== undefined && theirs !== undefined) {
          assert.equal(ours, theirs, source)
          counts.equal++
        } else if (ours !== undefined) counts.onlyThere++
        else if (theirs !== undefined) counts.onlyHere++
        else counts.bothRefuse++
      }
      console.log(`      ${JSON.stringify(counts)}`)
      if (process.env.EPP_SHOW) console.log(refusals)
      assert.ok(counts.equal > COUNT / 4, 'many are rendered')
      assert.ok(counts.onlyHere < counts.equal / 5, 'few are refused only here')
    })
  }
})
