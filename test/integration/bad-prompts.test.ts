import assert from 'node:assert/strict'
import { seededRandom } from '../../src/framework/random.ts'
import { eventually } from '../e2e/process.ts'
import { tokenizersDir } from '../fixtures.ts'
import { assertNoCanary, CANARY } from './canary.ts'
import { Conversation } from './conversation.ts'
import { type HostileRow, refusals, withstands } from './hostile-row.ts'
import { RogueEngine } from './rogue-engine.ts'

const CHAT = '/v1/chat/completions'
const MEGABYTE = 1_000_000

/** Every prompt is rendered and tokenized as qwen3's, and templates of requests are rendered too. */
const PROFILE = `plugins:
  - { type: token-producer, parameters: { modelName: qwen3, source: local, trustRequestChatTemplate: true } }
schedulingProfiles:
  - name: default
    plugins:
      - { type: precise-prefix-cache-scorer, weight: 1 }
      - { type: active-request-scorer, weight: 1 }
      - { type: max-score-picker }
`

const tokenized = (result: string, reason: string) =>
  `epp_tokenized_requests_total{result="${result}",reason="${reason}"}`
const estimated = (reason: string) => tokenized('estimate', reason)
const chat = (messages: readonly unknown[], more: object = {}): string =>
  JSON.stringify({ model: 'm', cache_salt: CANARY.salt, messages, ...more })
const said = (content: unknown) => ({ role: 'user', content })
const ofTemplate = (
  template: string,
  counter: HostileRow['counter'] = estimated('own-template'),
): HostileRow => ({
  body: chat([said(CANARY.text)], { chat_template: template }),
  path: CHAT,
  counter,
})
/** The renderer itself refuses what Jinja's sandbox does, such as a range of over 100,000; time and thread bound the rest, and it where the processor is busy. */
const REFUSED_OR_SLOW = [estimated('bad-messages'), estimated('own-template')]
const completion = (prompt: string): string =>
  JSON.stringify({ model: 'm', cache_salt: CANARY.salt, prompt })

/** Letters without a space between them, of a seed. */
function letters(length: number): string {
  const random = seededRandom(11)
  const pieces = Array.from({ length: length / 8 }, () =>
    Math.floor(random.next() * 26 ** 8)
      .toString(26)
      .padStart(8, 'a'),
  )
  return CANARY.text + pieces.join('')
}

const TEMPLATES: Readonly<Record<string, HostileRow>> = {
  'a template that loops a billion times': ofTemplate(
    '{% for i in range(10**9) %}x{% endfor %}',
    REFUSED_OR_SLOW,
  ),
  'a template that loops a billion times and writes nothing': ofTemplate(
    '{% for i in range(1000000000) %}{% endfor %}',
    REFUSED_OR_SLOW,
  ),
  'a template with loops in loops': ofTemplate(
    `${'{% for i in range(1000) %}'.repeat(6)}x${'{% endfor %}'.repeat(6)}`,
  ),
  'a template that doubles a text for ever': ofTemplate(
    "{% set ns = namespace(t='x') %}{% for i in range(64) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
    REFUSED_OR_SLOW,
  ),
  'a template that writes 64 MB': ofTemplate(
    `{% for i in range(64000) %}${'x'.repeat(1000)}{% endfor %}`,
    REFUSED_OR_SLOW,
  ),
  'a template whose macro calls itself': ofTemplate(
    '{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}',
    REFUSED_OR_SLOW,
  ),
  'a template that is not closed': ofTemplate('{% for m in messages %}{{ m.content }}'),
  'a template nested 10,000 deep': ofTemplate(
    `${'{% if true %}'.repeat(10_000)}x${'{% endif %}'.repeat(10_000)}`,
  ),
  'a template with brackets 100,000 deep': ofTemplate(
    `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`,
  ),
}

const PROMPTS: Readonly<Record<string, HostileRow>> = {
  '100,000 messages': {
    body: chat(Array.from({ length: 100_000 }, () => said(CANARY.text))),
    path: CHAT,
    counter: estimated('too-long'),
  },
  '200,000 parts of one message': {
    body: chat([said(Array.from({ length: 200_000 }, () => ({ type: 'text', text: 'x' })))]),
    path: CHAT,
    counter: estimated('too-long'),
  },
  '5 MB of text': { body: completion('a b '.repeat(1_250_000)), counter: estimated('too-long') },
}

/** Text on which a slow expression, or an encoder of square time, would stand still: exact ids in time, or an estimate. */
const SLOW: Readonly<Record<string, Omit<HostileRow, 'counter'>>> = {
  '1 MB without a space': { body: completion(letters(MEGABYTE)) },
  '1 MB without a space in a chat': { body: chat([said(letters(MEGABYTE))]), path: CHAT },
  '1 MB of one letter': { body: completion('a'.repeat(MEGABYTE)) },
  '1 MB of spaces': { body: completion(' '.repeat(MEGABYTE)) },
  '1 MB of line ends': { body: completion('\n'.repeat(MEGABYTE)) },
  '1 MB of digits': { body: completion('7'.repeat(MEGABYTE)) },
  '1 MB of apostrophes': { body: completion("'".repeat(MEGABYTE)) },
  '300,000 combining marks': { body: completion(`e${'\u0301'.repeat(300_000)}`) },
  '100,000 special tokens': { body: completion('<|im_start|>'.repeat(100_000)) },
  '100,000 beginnings of special tokens': { body: completion('<|im_'.repeat(100_000)) },
  'reasoning that is opened 50,000 times': {
    body: chat([
      { role: 'user', content: 'x' },
      { role: 'assistant', content: '<think>'.repeat(50_000) },
      { role: 'user', content: '</think>'.repeat(50_000) },
    ]),
    path: CHAT,
  },
}

const EXACT: Readonly<Record<string, HostileRow>> = {
  'keys __proto__, constructor and prototype': {
    body: `{"model":"m","messages":[{"role":"user","content":"x","__proto__":{"content":"y"},"constructor":{"prototype":{"role":"system"}}}]}`,
    path: CHAT,
    counter: tokenized('exact', 'none'),
  },
  'a prompt that is __proto__': {
    body: completion('__proto__'),
    counter: tokenized('exact', 'none'),
  },
}

describe('bad prompts, with a tokenizer', function () {
  this.timeout(120_000)
  let engine: RogueEngine
  let picker: Conversation

  before(async () => {
    engine = await RogueEngine.start()
    picker = await Conversation.start([
      ...['--endpoint', `127.0.0.1:${engine.port}`, '--config-text', PROFILE, '-v', '4'],
      ...['--tokenizers-dir', tokenizersDir()],
    ])
    await picker.serves()
  })

  after(async () => {
    await picker?.stop()
    await engine?.stop()
  })

  /** A hostile template may end the thread that renders them; a request that waits for the next one is estimated too. */
  const rendersTemplates = () =>
    eventually(
      'an ordinary template is rendered',
      async () => {
        const exact = await picker.count(tokenized('exact', 'none'))
        const chat_template = '{{ messages[0].content }}'
        await picker.ask(chat([said('an ordinary chat')], { chat_template }), { path: CHAT })
        return (await picker.count(tokenized('exact', 'none'))) > exact || undefined
      },
      60_000,
    )

  for (const [name, row] of Object.entries(TEMPLATES)) {
    it(`${name}: ${row.counter}`, async () => {
      await rendersTemplates()
      await withstands(picker, name, row)
      await rendersTemplates()
    })
  }

  for (const rows of [PROMPTS, EXACT]) {
    for (const [name, row] of Object.entries(rows)) {
      it(`${name}: ${row.counter}`, () => withstands(picker, name, row))
    }
  }

  for (const [name, row] of Object.entries(SLOW)) {
    it(`${name}: served`, () =>
      withstands(picker, name, {
        ...row,
        counter: 'epp_extproc_exchanges_total{outcome="routed"}',
      }))
  }

  it('leaves no key on the prototypes of the process: an ordinary chat is exact', async () => {
    const exact = tokenized('exact', 'none')
    const before = await picker.count(exact)
    const outcome = await picker.ask(chat([said('an ordinary chat')]), { path: CHAT })
    assert.ok('destination' in outcome)
    assert.equal(await picker.count(exact), before + 1)
  })

  it('says nothing of prompts and salts anywhere', async () => {
    const rows = [TEMPLATES, PROMPTS, EXACT, SLOW].flatMap((each) => Object.keys(each))
    console.log(`      ${rows.length} rows`)
    await assertNoCanary(picker.epp, picker.answers)
  })
})

describe('limits that flags lower', function () {
  this.timeout(60_000)
  let engine: RogueEngine
  let picker: Conversation

  const refusal = (message: RegExp) => ({ status: 400, code: 'BAD_REQUEST', message })
  const ROWS: Readonly<Record<string, HostileRow>> = {
    'a header of 2 KiB with --max-header-kib 1': {
      body: completion('x'),
      headers: { 'x-long': 'x'.repeat(2048) },
      refusal: refusal(/headers take \d+ bytes, more than 1024 \(--max-header-kib\)/),
      counter: refusals('BAD_REQUEST'),
    },
    '200 values with --max-json-values 160': {
      body: JSON.stringify({ model: 'm', prompt: Array.from({ length: 200 }, () => 7) }),
      refusal: refusal(/more than 10 objects and arrays or 160 values/),
      counter: refusals('BAD_REQUEST'),
    },
    'nesting of 6 with --max-json-depth 5': {
      body: '{"model":"m","prompt":"x","extra":[[[[[]]]]]}',
      refusal: refusal(/nested deeper than 5 objects and arrays \(--max-json-depth\); flatten it/),
      counter: refusals('BAD_REQUEST'),
    },
    'nesting of 5 with --max-json-depth 5': {
      body: '{"model":"m","prompt":"x","extra":[[[[]]]]}',
      counter: tokenized('exact', 'none'),
    },
    '3 messages with --max-messages 2': {
      body: chat([said('a'), said('b'), said('c')]),
      path: CHAT,
      counter: estimated('too-long'),
    },
    'a prompt of 101 characters with --max-prompt-chars 100': {
      body: completion('x'.repeat(101)),
      counter: estimated('too-long'),
    },
    'a prompt of 100 characters with --max-prompt-chars 100': {
      body: completion('x'.repeat(100)),
      counter: tokenized('exact', 'none'),
    },
  }

  before(async () => {
    engine = await RogueEngine.start()
    picker = await Conversation.start([
      ...['--endpoint', `127.0.0.1:${engine.port}`, '--config-text', PROFILE],
      ...['--tokenizers-dir', tokenizersDir(), '--max-header-kib', '1', '--max-json-values', '160'],
      ...['--max-messages', '2', '--max-prompt-chars', '100', '--max-endpoints', '1'],
      ...['--max-json-depth', '5'],
    ])
    await picker.serves()
  })

  after(async () => {
    await picker?.stop()
    await engine?.stop()
  })

  for (const [name, row] of Object.entries(ROWS)) it(name, () => withstands(picker, name, row))
})
