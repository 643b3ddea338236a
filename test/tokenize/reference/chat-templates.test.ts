import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { ChatTemplate } from '../../../src/tokenize/chat/chat-template.ts'
import { chatVariables } from '../../../src/tokenize/chat/chat-variables.ts'
import { NEWEST_RULES } from '../../../src/tokenize/chat/engine-rules.ts'
import { parsePythonJson } from '../../../src/tokenize/chat/python-json.ts'
import { Unrenderable } from '../../../src/tokenize/chat/unrenderable.ts'
import { JinjaTemplate } from '../../../src/tokenize/jinja/jinja-template.ts'
import { chatBody } from './chats.ts'
import { Reference, referenceAvailable, toPythonJson } from './reference.ts'

const TEMPLATES =
  process.env.EPP_TEMPLATES ?? join(import.meta.dirname, '..', '..', 'fixtures', 'templates')
const QWEN3 = join(import.meta.dirname, '..', '..', 'fixtures', 'tokenizers', 'qwen3')

/** Chats for each template. */
const CHATS = Number(process.env.EPP_CHATS ?? 300)

const NOW = new Date(2026, 1, 3, 4, 5, 6)

const TOKENS = { bos_token: '<s>', eos_token: '</s>', pad_token: '<pad>' }

/** Texts of templates by name: those in the folder, and Qwen3's. */
function templateTexts(): Map<string, string> {
  const texts = new Map<string, string>()
  for (const file of readdirSync(TEMPLATES).filter((name) => name.endsWith('.jinja'))) {
    texts.set(file.slice(0, -'.jinja'.length), readFileSync(join(TEMPLATES, file), 'utf8'))
  }
  const config = JSON.parse(readFileSync(join(QWEN3, 'tokenizer_config.json'), 'utf8'))
  texts.set('Qwen3', config.chat_template as string)
  return texts
}

/** What Python prints of an object without a text: where it lies in memory, which differs each time. */
const ADDRESS = /<[^<>]+ at 0x[0-9a-f]+>/

interface Answer {
  readonly text?: string
  readonly error?: string
}

describe('chat templates of the field', () => {
  let reference: Reference
  let total = 0
  before(function () {
    if (!referenceAvailable()) return this.skip()
    reference = new Reference('render.py')
  })
  after(() => {
    reference?.close()
    console.log(`      ${total} generated chats rendered as the reference renders them`)
  })

  for (const [name, source] of templateTexts()) {
    it(`${name} is rendered as Jinja2 renders it`, async function () {
      this.timeout(200_000)
      const added = await reference.ask<Answer>({ add: name, template: source })
      assert.deepEqual(added, {})
      const template = ChatTemplate.of(source, TOKENS)
      const jinja = new JinjaTemplate(source)
      const bodies = fc.sample(chatBody, { seed: 20_261, numRuns: CHATS })
      let refused = 0
      const ours: { text?: string; question: string; why?: string }[] = []
      for (const text of bodies) {
        const body = parsePythonJson(text) as Record<string, unknown>
        const withTools = Array.isArray(body.tools)
        const input = chatVariables(body, NEWEST_RULES, {
          format: template.contentFormat(withTools, NEWEST_RULES.contentLoops),
          namesDeveloper: template.namesDeveloper(withTools),
          media: 'engine',
          isChecked: true,
        })
        assert.ok(!(input instanceof Unrenderable))
        const variables = { ...TOKENS, ...input.variables }
        const question = toPythonJson({ render: name, variables, now: NOW.getTime() / 1000 })
        try {
          ours.push({ question, text: jinja.render(variables, NOW) })
        } catch (error) {
          ours.push({ question, why: String(error) })
        }
      }
      const answers = await Promise.all(ours.map(({ question }) => reference.ask<Answer>(question)))
      for (const [i, answer] of answers.entries()) {
        const { text, why, question } = ours[i]!
        if (answer.text === undefined) {
          // A chat that the engine refuses has no ids to differ from.
          refused++
          continue
        }
        if (text === undefined && ADDRESS.test(answer.text)) {
          refused++
          continue
        }
        assert.equal(text, answer.text, `${why ?? ''} ${question}`)
        total++
      }
      console.log(`      ${bodies.length - refused} equal, ${refused} refused by the template`)
      assert.ok(refused < bodies.length * 0.75, 'a quarter of the chats or more is accepted')
    })
  }
})
