import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { contentFormatOf } from '../../../src/tokenize/chat/content-format.ts'
import { JinjaTemplate } from '../../../src/tokenize/jinja/jinja-template.ts'
import { Reference, referenceAvailable } from './reference.ts'

const TEMPLATES =
  process.env.EPP_TEMPLATES ?? join(import.meta.dirname, '..', '..', 'fixtures', 'templates')
const RULES = ['direct', 'named', 'macros'] as const

/** Generated templates. */
const COUNT = Number(process.env.EPP_SNIPPETS ?? 500)

type Formats = Readonly<Record<(typeof RULES)[number], 'string' | 'openai'>>

const name = fc.constantFrom('messages', 'message', 'm', 'content', 'x', 'loop_messages', 'part')
const access = fc.oneof(
  { weight: 3, arbitrary: name },
  fc
    .tuple(name, fc.constantFrom('.content', "['content']", '["role"]', '.tool_calls'))
    .map((all) => all.join('')),
  fc
    .tuple(
      name,
      fc.constantFrom(
        '[1:]',
        '[0]',
        '|list',
        "|selectattr('role')",
        '[::-1]',
        "[0]['content']",
        '.content|list',
        '.content[1:]',
      ),
    )
    .map((all) => all.join('')),
)
const block: fc.Arbitrary<string> = fc.letrec<{ block: string }>((tie) => ({
  block: fc.oneof(
    { maxDepth: 4 },
    fc.constant('x'),
    {
      weight: 3,
      arbitrary: fc
        .tuple(
          fc.constantFrom(
            'message in messages',
            'm in x',
            'm in messages[1:]',
            'x in message.content',
            'part in m.content|list',
            "x in message['content']",
            'x in content',
          ),
          fc.array(tie('block'), { maxLength: 3 }),
        )
        .map(([over, body]) => `{% for ${over} %}${body.join('')}{% endfor %}`),
    },
    fc.constantFrom(
      '{% set x = messages %}',
      '{% set content = message.content %}',
      '{{ f(message.content) }}',
      '{{ f(z=m.content) }}',
    ),
    access.map((one) => `{{ ${one} }}`),
    fc.tuple(name, access).map(([to, from]) => `{% set ${to} = ${from} %}`),
    fc
      .tuple(name, access, fc.constantFrom('', ' if x'), fc.array(tie('block'), { maxLength: 3 }))
      .map(
        ([item, over, test, body]) =>
          `{% for ${item} in ${over}${test} %}${body.join('')}{% endfor %}`,
      ),
    fc
      .tuple(access, access, tie('block'))
      .map(
        ([a, over, body]) => `{% for ${a.replace(/\W.*/, '')}, y in ${over} %}${body}{% endfor %}`,
      ),
    fc
      .tuple(name, fc.array(tie('block'), { maxLength: 3 }), access)
      .map(
        ([parameter, body, given]) =>
          `{% macro f(${parameter}, z=none) %}${body.join('')}{% endmacro %}{{ f(${given}) }}`,
      ),
    fc.tuple(name, access).map(([parameter, given]) => `{{ f(${parameter}=${given}) }}`),
    fc
      .tuple(access, tie('block'), tie('block'))
      .map(([a, b, c]) => `{% if ${a} is defined %}${b}{% else %}${c}{% endif %}`),
  ),
})).block
const generated = fc.array(block, { minLength: 1, maxLength: 4 }).map((blocks) => blocks.join(''))

describe('contentFormatOf', () => {
  let reference: Reference
  before(function () {
    if (!referenceAvailable()) return this.skip()
    reference = new Reference('render.py')
  })
  after(() => reference?.close())

  async function compare(template: string): Promise<Formats | undefined> {
    const added = await reference.ask<{ error?: string }>({ add: 't', template })
    if (added.error !== undefined) return undefined
    const theirs = await reference.ask<Formats>({ format: 't' })
    const { tree } = new JinjaTemplate(template)
    const ours = Object.fromEntries(RULES.map((rule) => [rule, contentFormatOf(tree, rule)]))
    assert.deepEqual(ours, theirs, template)
    return theirs
  }

  it('answers as each release does for templates of the field', async () => {
    const files = readdirSync(TEMPLATES).filter((file) => file.endsWith('.jinja'))
    for (const file of files) await compare(readFileSync(join(TEMPLATES, file), 'utf8'))
    console.log(`      ${files.length} templates`)
  })

  it('answers as each release does for generated templates', async () => {
    const counts: Record<string, number> = {}
    for (const template of fc.sample(generated, { seed: 32, numRuns: COUNT })) {
      const formats = await compare(template)
      const key = formats === undefined ? 'refused' : Object.values(formats).join()
      counts[key] = (counts[key] ?? 0) + 1
    }
    console.log(`      ${JSON.stringify(counts)} as ${RULES.join()}`)
    assert.ok(Object.keys(counts).length >= 4, 'the rules are told apart')
  })
})
