import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { chatVariables } from '../../../src/tokenize/chat/chat-variables.ts'
import { type ContentFormat, contentFormatOf } from '../../../src/tokenize/chat/content-format.ts'
import { type EngineRules, rulesOf } from '../../../src/tokenize/chat/engine-rules.ts'
import type { Fields } from '../../../src/tokenize/chat/fields.ts'
import { chatOfMessages } from '../../../src/tokenize/chat/messages-api.ts'
import { chatOfResponses } from '../../../src/tokenize/chat/responses-api.ts'
import { Unrenderable } from '../../../src/tokenize/chat/unrenderable.ts'
import { JinjaTemplate } from '../../../src/tokenize/jinja/jinja-template.ts'
import { readFixture } from '../fixtures.ts'

const RELEASES = 19

function rules(release: string): EngineRules {
  const [only, ...others] = rulesOf(release)
  assert.deepEqual(others, [], release)
  return only!
}

describe('chatVariables', () => {
  interface Row {
    readonly release: string
    readonly format: ContentFormat
    readonly namesDeveloper: boolean
    readonly messages: readonly unknown[]
    /** Null where the release refuses the request. */
    readonly answer: readonly unknown[] | null
  }
  const rows = readFixture<readonly Row[]>('engine-rules', 'chat.json.gz')

  it('prepares messages as 19 releases of vLLM do, keys in their order', () => {
    let accepted = 0
    for (const { release, format, namesDeveloper, messages, answer } of rows) {
      if (answer === null) continue
      const options = { format, namesDeveloper, media: 'engine', isChecked: true } as const
      const made = chatVariables({ messages }, rules(release), options)
      assert.ok(!(made instanceof Unrenderable), release)
      assert.equal(JSON.stringify(made.messages), JSON.stringify(answer), release)
      accepted++
    }
    assert.equal(new Set(rows.map(({ release }) => release)).size, RELEASES)
    console.log(`      ${accepted} chats equal, ${rows.length - accepted} refused by the engine`)
    assert.ok(accepted > 1000)
  })
})

describe('contentFormatOf', () => {
  const templates = JSON.parse(
    readFileSync(
      join(import.meta.dirname, '..', '..', 'fixtures', 'engine-rules', 'content-formats.json'),
      'utf8',
    ),
  ) as readonly { readonly template: string; readonly openai: readonly string[] }[]
  const releases = [...new Set(templates.flatMap(({ openai }) => openai))]

  for (const { template, openai } of templates) {
    it(`takes ${template} for what the releases take it for`, () => {
      const { tree } = new JinjaTemplate(template)
      const wanting = releases.filter(
        (release) => contentFormatOf(tree, rules(release).contentLoops) === 'openai',
      )
      assert.deepEqual(wanting.sort(), [...openai].sort())
    })
  }

  it('knows all releases', () => assert.equal(releases.length, RELEASES))
})

describe('the conversions of other APIs', () => {
  interface Row {
    readonly release: string
    readonly api: 'messages' | 'responses'
    readonly mergesLateSystem?: boolean
    readonly body: Fields
    readonly answer: Fields
  }
  const rows = readFixture<readonly Row[]>('engine-rules', 'conversions.json.gz')

  /** Keys sorted, empty ones and the addresses of images left out. */
  const clean = (value: unknown): string =>
    JSON.stringify(value, (key, item) => {
      if (key === 'image_url') return 'image'
      if (typeof item !== 'object' || item === null || Array.isArray(item)) return item
      const full = Object.entries(item).filter(([, one]) => one !== null && one !== undefined)
      return Object.fromEntries(full.sort(([a], [b]) => (a < b ? -1 : 1)))
    })

  for (const api of ['messages', 'responses'] as const) {
    it(`make the chat of /v1/${api} that releases of vLLM make`, () => {
      let count = 0
      for (const { release, body, answer, mergesLateSystem = false } of rows.filter(
        (row) => row.api === api,
      )) {
        const facts = () => ({ mergesLateSystem, noThinkingEffort: 'none' })
        const chat =
          api === 'messages'
            ? chatOfMessages(body, rules(release), facts)
            : chatOfResponses(body, rules(release))
        assert.ok(!(chat instanceof Unrenderable), `${release} ${JSON.stringify(body)}`)
        const { messages, tools, reasoning_effort: effort, chat_template_kwargs: kwargs } = chat
        const made = api === 'messages' ? { messages, tools, effort, kwargs } : { messages }
        assert.equal(clean(made), clean(answer), `${release} ${JSON.stringify(body)}`)
        count++
      }
      console.log(`      ${count} requests equal`)
      assert.ok(count > 400)
    })
  }
})
