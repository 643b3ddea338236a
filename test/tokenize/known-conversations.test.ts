import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import type { ChatPrompt } from '../../src/framework/request.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'
import { rulesOf } from '../../src/tokenize/chat/engine-rules.ts'
import { KnownMessages } from '../../src/tokenize/chat/known-messages.ts'
import { EncodePool } from '../../src/tokenize/encode-pool.ts'
import { encodePrompt } from '../../src/tokenize/encode-prompt.ts'
import { ModelTokenizer } from '../../src/tokenize/model-tokenizer.ts'
import type { Outcome } from '../../src/tokenize/outcome.ts'
import { byteTokenizersDir, tokenizersDir } from './fixtures.ts'

const TEMPLATES = join(import.meta.dirname, '..', 'fixtures', 'templates')
const NAMES = [
  'Qwen-QwQ-32B',
  'Qwen-Qwen2.5-7B-Instruct',
  'Mistral-Small-3.2-24B-Instruct-2506',
  'deepseek-ai-DeepSeek-R1-Distill-Qwen-32B',
  'ibm-granite-granite-3.3-2B-Instruct',
  'meetkai-functionary-medium-v3.2',
  'microsoft-Phi-3.5-mini-instruct',
  'openai-gpt-oss-120b',
]
/** Added tokens that take white space beside them, that have others in them, and those of the templates. */
const ADDED = [
  ...['<|im_start|>', '<|im_end|>', '<think>', '</think>', '[INST]', '[/INST]', '<|end|>'],
  ...['<|im_end|>\n<', '</s', '<|user|>', '<｜User｜>', '<tool_call>', '[TOOL_CALLS]'],
]
const FACTS = { ruleSets: rulesOf('0.32.0'), contextTokens: undefined }

type Message = Record<string, unknown>

/** Text in all that is cut and joined: tokens whole and in halves, characters of every length, white space. */
const text = fc
  .array(
    fc.constantFrom(
      ...[
        'hello ',
        'word',
        ' ',
        '\n',
        '\n\n',
        '"',
        '\\',
        '\t',
        'é',
        '你好',
        '👩‍👧',
        '\ud83d',
        'e\u0301',
      ],
      ...['<think>', '</think>', '<|im_end|>', '<|im_', 'end|>', '</s>', '</', 's>', '<', '[INST]'],
      ...[
        '<tool_response>',
        '</tool_response>',
        'x'.repeat(70),
        'line of text, and more\n'.repeat(40),
      ],
    ),
    { maxLength: 6 },
  )
  .map((pieces) => pieces.join(''))

const message: fc.Arbitrary<readonly Message[]> = fc.oneof(
  fc.tuple(text, text).map(([question, answer]) => [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ]),
  fc.tuple(text, text, text).map(([question, reasoning_content, answer]) => [
    { role: 'user', content: [{ type: 'text', text: question }] },
    { role: 'assistant', reasoning_content, content: answer },
  ]),
  fc.tuple(text, text, fc.constantFrom(1, 2.5, 1e20, -0)).map(([question, answer, number]) => [
    { role: 'user', content: question },
    {
      ...{ role: 'assistant', content: null },
      tool_calls: [
        {
          ...{ id: 'call_123', type: 'function' },
          function: { name: 'f', arguments: JSON.stringify({ a: number, b: answer }) },
        },
      ],
    },
    { role: 'tool', tool_call_id: 'call_123', content: answer },
  ]),
)

const TOOLS = [
  {
    type: 'function',
    function: { name: 'f', description: 'é', parameters: { type: 'object', minimum: 1.0 } },
  },
]

/** What is done to one of the conversations so far, which makes another one. */
const step = fc.record({
  from: fc.nat(),
  kept: fc.option(fc.nat(), { freq: 3 }),
  changed: fc.option(fc.tuple(fc.nat(), text), { freq: 4 }),
  added: fc.array(message, { maxLength: 2 }),
  system: fc.option(text, { freq: 4 }),
  fields: fc.constantFrom(
    ...[{}, {}, { tools: TOOLS }, { add_generation_prompt: false }, { top_p: 0.5 }],
    ...[
      { chat_template_kwargs: { enable_thinking: false } },
      { add_generation_prompt: false, continue_final_message: true },
    ],
  ),
  style: fc.constantFrom('plain', 'plain', 'ascii', 'spaced'),
})
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

function changedBy(before: readonly Message[], { kept, changed, added, system }: Step): Message[] {
  const messages = before.slice(0, kept === null ? before.length : kept % (before.length + 1))
  if (changed !== null && messages.length > 0) {
    const at = changed[0] % messages.length
    messages[at] = { ...messages[at], content: changed[1] }
  }
  if (system !== null && messages[0]?.role !== 'system') {
    messages.unshift({ role: 'system', content: system })
  }
  messages.push(...added.flat())
  return messages.length > 0 ? messages : [{ role: 'user', content: 'hello' }]
}

/** Escapes of half a character are valid JSON, its bytes are not. */
function jsonOf(body: object, style: Step['style']): string {
  const json = style === 'spaced' ? JSON.stringify(body, undefined, 1) : JSON.stringify(body)
  if (style !== 'ascii') return json
  return json.replace(/[^ -~]/g, (unit) => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

async function outcomeOf(tokenizer: ModelTokenizer, prompt: ChatPrompt): Promise<unknown> {
  const outcome: Outcome = await encodePrompt(tokenizer, prompt, FACTS)
  return 'code' in outcome
    ? outcome.code
    : { ids: outcome.prompts.map((ids) => [...ids]), doubt: outcome.doubt?.code }
}

describe('ids of conversations that are partly known', function () {
  this.timeout(240_000)
  const pool = new EncodePool(1, 30_000)
  const directories: string[] = []
  const counts = { hit: () => {}, miss: () => {} }

  after(async () => {
    await pool.close()
    for (const directory of directories) rmSync(directory, { recursive: true })
  })

  function folderWith(template: string | undefined): string {
    const directory = template === undefined ? tokenizersDir('m') : byteTokenizersDir('m')
    directories.push(directory)
    const folder = join(directory, 'm')
    if (template === undefined) return folder
    const chat_template = readFileSync(join(TEMPLATES, `${template}.jinja`), 'utf8')
    const tokens = { bos_token: '<s>', eos_token: '</s>' }
    writeFileSync(
      join(folder, 'tokenizer_config.json'),
      JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', chat_template, ...tokens }),
    )
    const file = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'))
    for (const [i, content] of ADDED.entries()) {
      const strips = { lstrip: i % 5 === 4, rstrip: i % 5 === 2 }
      file.added_tokens.push({ ...file.added_tokens[0], id: 300 + i, content, ...strips })
    }
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(file))
    return folder
  }

  for (const [template, runs] of [
    ...NAMES.map((name) => [name, 40] as const),
    [undefined, 60] as const,
  ]) {
    it(`are those of the same conversations told anew, by the template of ${template ?? 'Qwen3'}`, async () => {
      const folder = folderWith(template)
      const plain = new ModelTokenizer(folder, 16, pool, counts)
      const kept = new ModelTokenizer(folder, 1_000_000, pool, counts)
      let exact = 0
      let known = 0
      const property = fc.asyncProperty(
        fc.array(step, { minLength: 3, maxLength: 8 }),
        async (steps) => {
          const remembering =
            template === undefined ? kept : new ModelTokenizer(folder, 200_000, pool, counts)
          const messages = new KnownMessages(500_000)
          const conversations: Message[][] = [[]]
          for (const one of steps) {
            const conversation = changedBy(conversations[one.from % conversations.length]!, one)
            conversations.push(conversation)
            const json = jsonOf({ model: 'm', messages: conversation, ...one.fields }, one.style)
            const body = JSON.parse(json)
            const sent = openAiApi.parse('/v1/chat/completions', new Map(), [Buffer.from(json)])
            const read = messages.read(sent.prompt as ChatPrompt)
            const found = await outcomeOf(remembering, read)
            const wanted = await outcomeOf(plain, { kind: 'chat', body, text: () => json })
            assert.deepEqual(found, wanted)
            if (typeof wanted === 'object') exact++
            await new Promise((then) => setImmediate(then))
            if (messages.bytes > 0) known++
          }
        },
      )
      await fc.assert(property, { numRuns: runs, seed: 17 })
      assert.ok(exact > runs, `${exact} with ids`)
      assert.ok(known > runs, `${known} known`)
    })
  }
})
