import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { PromptTokens } from '../../src/framework/attributes.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { Prompt } from '../../src/framework/request.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'
import {
  PromptTokenizer,
  type PromptTokenizerOptions,
} from '../../src/tokenize/prompt-tokenizer.ts'
import { TokenizerFile } from '../../src/tokenize/tokenizer-file.ts'
import { byteTokenizersDir, chatCases, readFixture, tokenizersDir } from './fixtures.ts'
import { clock, memoryLogger, memoryMetrics, memoryNotices, requestFor } from './services.ts'

const MODEL = 'Qwen3-32B'

/** Cases that the two releases render differently. */
const RELEASES_DIFFER = [
  'reasoning field in a tool round',
  'reasoning_content in a tool round',
  'developer role',
  'reasoning_effort none',
]

interface Made {
  readonly tokenizer: PromptTokenizer
  readonly logger: ReturnType<typeof memoryLogger>
  readonly metrics: ReturnType<typeof memoryMetrics>
  readonly notices: ReturnType<typeof memoryNotices>
}

function chat(content: string, more: object = {}): Prompt {
  return { kind: 'chat', body: { messages: [{ role: 'user', content }], ...more } }
}

/** English words without repetition to speak of. */
function words(count: number, seed: number): string {
  const parts: string[] = []
  let state = seed
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    parts.push(`${(state >>> 8).toString(36)} word`)
  }
  return parts.join(' ')
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = clock.nowMs() + 15_000
  while (!(await condition())) {
    assert.ok(clock.nowMs() < deadline, 'it did not happen within 15 s')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('PromptTokenizer', () => {
  const qwen3 = tokenizersDir(MODEL)
  const bytes = byteTokenizersDir(MODEL)
  const made: PromptTokenizer[] = []

  const make = (options: Partial<PromptTokenizerOptions> = {}): Made => {
    const logger = memoryLogger()
    const metrics = memoryMetrics()
    const notices = memoryNotices()
    const tokenizer = new PromptTokenizer({
      tokenizersDir: bytes,
      models: { baseOf: () => undefined },
      clock,
      logger,
      metrics,
      notices,
      // Machines are busy; what is given up in time has a budget of its own.
      budgetMs: 30_000,
      ...options,
    })
    made.push(tokenizer)
    return { tokenizer, logger, metrics, notices }
  }
  const shared = make({ tokenizersDir: qwen3, budgetMs: 30_000 })

  after(async () => {
    await Promise.all(made.map((tokenizer) => tokenizer.close()))
    rmSync(qwen3, { recursive: true })
    rmSync(bytes, { recursive: true })
  })

  const ask = async (
    prompt: Prompt | undefined,
    from = shared,
    model = MODEL,
  ): Promise<PromptTokens> => from.tokenizer.tokenize(requestFor(model, prompt), new Cancellation())

  it('estimates a chat of more messages or parts than rendering has time for', async () => {
    const messages = (count: number) =>
      Array.from({ length: count }, () => ({ role: 'user', content: 'hi' }))
    const long: Prompt = { kind: 'chat', body: { messages: messages(1001) } }
    const tools = Array.from({ length: 20_000 }, () => ({}))
    const wide: Prompt = { kind: 'chat', body: { messages: messages(1), tools } }
    for (const prompt of [long, wide]) {
      const { exact, reason } = await ask(prompt)
      assert.equal(exact, false)
      assert.match(reason!, /more than 1000 messages, or too many parts/)
    }
    assert.equal((await ask({ kind: 'chat', body: { messages: messages(1000) } })).exact, true)
  })

  for (const engine of ['vllm-0.32.0', 'vllm-0.10.0'] as const) {
    const sent = (json: string) =>
      openAiApi.parse('/v1/chat/completions', new Map(), [Buffer.from(json)]).prompt

    it(`gives the ids of ${engine} for every chat when the engines say that they are that release`, async () => {
      const versions = [engine.slice('vllm-'.length)]
      const engines = { versions: () => versions, contextTokens: () => undefined }
      const known = make({ tokenizersDir: qwen3, budgetMs: 30_000, engines })
      const cases = chatCases(engine)
      for (const { name, json, request, prompt_token_ids: ids } of cases) {
        assert.deepEqual(JSON.parse(json), request)
        const tokens = await ask(sent(json), known)
        assert.deepEqual(tokens, { prompts: [Int32Array.from(ids)], exact: true }, name)
      }
      assert.equal(cases.length, 40)
      console.log(`      ${cases.length} chats exact`)
    })

    it(`gives the ids of ${engine} wherever it says exact, though engines say no release`, async () => {
      const inexact: string[] = []
      for (const { name, json, prompt_token_ids: ids } of chatCases(engine)) {
        const { prompts, exact } = await ask(sent(json))
        if (!exact) inexact.push(name)
        else assert.deepEqual(prompts, [Int32Array.from(ids)], name)
      }
      assert.deepEqual(inexact.sort(), [...RELEASES_DIFFER].sort())
    })
  }

  it('gives the ids of the reference implementation for 3000 random texts', async () => {
    const texts = readFixture<readonly (readonly [string, number[]])[]>(
      'tokenizers',
      'random-texts.json.gz',
    )
    assert.equal(texts.length, 3000)
    for (const [text, ids] of texts) {
      const { prompts, exact } = await ask({ kind: 'text', texts: [text] })
      assert.deepEqual([Array.from(prompts[0]!), exact], [ids, true], JSON.stringify(text))
    }
  })

  it('passes token ids as they are', async () => {
    const prompts = [Int32Array.of(5, 6), Int32Array.of(7)]
    assert.deepEqual(await ask({ kind: 'tokens', prompts }), { prompts, exact: true })
  })

  it('has nothing for a request without a prompt', async () => {
    assert.deepEqual(await ask(undefined), { prompts: [], exact: true })
  })

  it('answers at once for short text and for text seen before', () => {
    const outcome = shared.tokenizer.tokenize(
      requestFor(MODEL, chat('At once, please.')),
      new Cancellation(),
    )
    assert.ok(!(outcome instanceof Promise))
  })

  it('encodes only what is new in a conversation', async () => {
    const { tokenizer, metrics } = make()
    const messages: { role: string; content: string }[] = []
    const misses: number[] = []
    for (let turn = 0; turn < 4; turn++) {
      messages.push({ role: 'user', content: `question ${turn}` })
      const before = metrics.counts.get('epp_tokenizer_cache_pieces_total{result="miss"}') ?? 0
      await tokenizer.tokenize(
        requestFor(MODEL, { kind: 'chat', body: { messages } }),
        new Cancellation(),
      )
      misses.push(metrics.counts.get('epp_tokenizer_cache_pieces_total{result="miss"}')! - before)
      messages.push({ role: 'assistant', content: `answer ${turn}` })
    }
    // First a question and "a:", then each time an answer and a question.
    assert.deepEqual(misses, [2, 2, 2, 2])
  })

  it('counts the memory of ids, and of messages that came as bytes', async () => {
    const content = words(1000, 1)
    const body = { model: MODEL, messages: [{ role: 'user', content }] }
    const json = Buffer.from(JSON.stringify(body))
    const { prompt } = openAiApi.parse('/v1/chat/completions', new Map(), [json])
    const counted = await Promise.all(
      [{ kind: 'chat', body } as const, prompt].map(async (sent) => {
        const { tokenizer, metrics } = make()
        const request = { ...requestFor(MODEL, sent), bodyBytes: json.length }
        await tokenizer.tokenize(request, new Cancellation())
        // Messages are remembered when the request has gone.
        await new Promise((resolve) => setImmediate(resolve))
        return metrics.observe('epp_tokenizer_cache_bytes')[0]!
      }),
    )
    const [ofIds, ofBoth] = [counted[0]!, counted[1]!]
    assert.ok(ofIds > content.length, `${ofIds} bytes`)
    assert.ok(ofBoth > ofIds + json.length, `${ofBoth} bytes, ${ofIds} without the messages`)
  })

  it('gives the ids of a conversation that goes on, whatever is known of it', async () => {
    const known = make({ tokenizersDir: qwen3 })
    const messages = [{ role: 'system', content: words(800, 20) }]
    for (let turn = 0; turn < 4; turn++) {
      messages.push({ role: 'user', content: `<think>“${words(150, turn + 21)}”` })
      const json = JSON.stringify({ messages, tools: turn === 3 ? [] : undefined })
      const body = Buffer.from(json)
      const { prompt } = openAiApi.parse('/v1/chat/completions', new Map(), [body])
      const request = { ...requestFor(MODEL, prompt), bodyBytes: body.length }
      const tokens = await known.tokenizer.tokenize(request, new Cancellation())
      assert.deepEqual(tokens, await ask({ kind: 'chat', body: JSON.parse(json) }))
      assert.equal(tokens.exact, true)
      messages.push({ role: 'assistant', content: `</think>\n\n${words(100, turn + 30)}` })
    }
  })

  it('encodes long text in a thread, with the same ids and without stopping the event loop', async () => {
    await ask(chat('warm up'))
    await ask({ kind: 'text', texts: [words(2000, 2)] })
    const pausesMs: number[] = []
    // Others may have the processor while one of them is encoded.
    for (const seed of [1, 11, 12]) {
      const text = words(10_000, seed)
      let lastMs = clock.nowMs()
      let longestMs = 0
      let watching = true
      const watch = (): void => {
        const now = clock.nowMs()
        longestMs = Math.max(longestMs, now - lastMs)
        lastMs = now
        if (watching) setImmediate(watch)
      }
      watch()
      const { prompts, exact } = await ask({ kind: 'text', texts: [text] })
      watching = false
      pausesMs.push(longestMs)
      assert.equal(exact, true)
      const direct = new TokenizerFile(join(qwen3, MODEL)).encode(text, true)
      assert.deepEqual(prompts[0], direct)
    }
    const pauseMs = Math.min(...pausesMs)
    console.log(`      longest pause ${pauseMs.toFixed(1)} ms (limit 20)`)
    assert.ok(pauseMs < 200, `the event loop stood still for ${pauseMs} ms`)
  }).timeout(60_000)

  it('answers many long prompts that are equal with one job', async () => {
    const { tokenizer, metrics } = make({ budgetMs: 30_000 })
    const prompt: Prompt = { kind: 'text', texts: [words(4000, 3)] }
    const all = await Promise.all(
      Array.from({ length: 50 }, () =>
        tokenizer.tokenize(requestFor(MODEL, prompt), new Cancellation()),
      ),
    )
    for (const one of all) assert.deepEqual(one, all[0])
    assert.equal(all[0]!.exact, true)
    assert.equal(
      metrics.counts.get('epp_tokenized_requests_total{result="exact",reason="none"}'),
      50,
    )
  })

  it('estimates when the ids are late, and has them the next time', async () => {
    const { tokenizer, metrics } = make({ budgetMs: 1 })
    const prompt: Prompt = { kind: 'text', texts: [words(5000, 4)] }
    const first = await tokenizer.tokenize(requestFor(MODEL, prompt), new Cancellation())
    assert.deepEqual([first.exact, first.reason], [false, 'the ids were not there in time'])
    assert.equal(
      metrics.counts.get('epp_tokenized_requests_total{result="estimate",reason="too-slow"}'),
      1,
    )
    await until(
      async () => (await tokenizer.tokenize(requestFor(MODEL, prompt), new Cancellation())).exact,
    )
  })

  it('estimates when the caller gives up', async () => {
    const prompt: Prompt = { kind: 'text', texts: [words(5000, 5)] }
    const outcome = shared.tokenizer.tokenize(
      requestFor(MODEL, prompt),
      Cancellation.following(AbortSignal.abort()),
    )
    assert.equal((await outcome).exact, false)
  })

  it('estimates when too much waits', async () => {
    const { tokenizer } = make({ threads: 1 })
    const all = Array.from({ length: 8 }, (_, i) =>
      tokenizer.tokenize(
        requestFor(MODEL, { kind: 'text', texts: [`${i}${'x '.repeat(1_900_000)}`] }),
        Cancellation.following(AbortSignal.timeout(50)),
      ),
    )
    const reasons = (await Promise.all(all)).map(({ reason }) => reason)
    assert.ok(reasons.includes('too much text waits to be tokenized'), String(reasons))
    await tokenizer.close()
  }).timeout(60_000)

  it('estimates at once when the threads would not come to a text in time', async () => {
    const { tokenizer, metrics } = make({ threads: 1, budgetMs: 100 })
    const sent = Array.from({ length: 10 }, (_, i) => `${i} ${'x '.repeat(50_000)}`)
    const all = sent.map((text) =>
      tokenizer.tokenize(requestFor(MODEL, { kind: 'text', texts: [text] }), new Cancellation()),
    )
    await Promise.all(all)
    const refused = 'epp_tokenized_requests_total{result="estimate",reason="queue-full"}'
    // Two are within the budget or in work.
    assert.equal(metrics.counts.get(refused), 8)
    await tokenizer.close()
  }).timeout(60_000)

  it('does not read prompts of more than four million characters', async () => {
    const { reason } = await ask({ kind: 'text', texts: ['x'.repeat(4 * 1024 * 1024 + 1)] })
    assert.equal(reason, 'the prompt has more than 4194304 characters')
  })

  it('estimates waiting requests when it is closed', async () => {
    const { tokenizer } = make({ budgetMs: 30_000 })
    const outcome = tokenizer.tokenize(
      requestFor(MODEL, { kind: 'text', texts: [words(5000, 6)] }),
      new Cancellation(),
    )
    await tokenizer.close()
    assert.equal((await outcome).reason, 'the tokenizer is closed')
  })

  for (const [name, body, reason] of [
    [
      'its own template',
      { chat_template: '{{ 1 }}' },
      'the request brings its own chat template; trustRequestChatTemplate of token-producer would render it',
    ],
    ['no messages', { messages: undefined }, 'the request has no messages'],
    ['an empty list of messages', { messages: [] }, 'the request has no messages'],
    ['a message that is a number', { messages: [7] }, 'a message has no role'],
    [
      'an object as content',
      { messages: [{ role: 'user', content: {} }] },
      'the content of a message is neither text nor parts',
    ],
    [
      'two ways to end',
      { add_generation_prompt: true, continue_final_message: true },
      'continue_final_message excludes add_generation_prompt',
    ],
  ] as const) {
    it(`estimates a chat with ${name}`, async () => {
      const tokens = await ask(chat('hello there', body))
      assert.deepEqual([tokens.exact, tokens.reason], [false, reason])
    })
  }

  for (const [name, body, reason] of [
    [
      'half a character',
      { messages: [{ role: 'user', content: 'a\ud800b' }] },
      'the prompt has half of a surrogate pair',
    ],
    [
      'template arguments that are the engine’s',
      { chat_template_kwargs: { tokenizer_kwargs: {} } },
      'chat_template_kwargs replaces an argument of the engine',
    ],
    [
      'tool fields of its own',
      { tools: [{ type: 'function', function: { name: 'f', extra: true } }] },
      'releases of the engine render this request differently, and the engines are of several releases or do not say theirs',
    ],
    [
      'more tokens wanted than are known to fit',
      { truncate_prompt_tokens: -1 },
      'the request asks for as many tokens as the model takes, and the prompt is longer or the engines do not say how many that is',
    ],
  ] as const) {
    it(`guesses for a chat with ${name}`, async () => {
      const tokens = await ask(chat('hello', body))
      assert.deepEqual([tokens.exact, tokens.reason], [false, reason])
      assert.equal(tokens.prompts[0]![0], 151644)
    })
  }

  describe('cuts prompts as the request asks', () => {
    const engines = {
      versions: () => RELEASE,
      contextTokens: (model: string) => (model === MODEL ? 100 : undefined),
    }
    const RELEASE = ['0.32.0']
    const cutting = make({ engines })
    // One id a byte; the chat is `<s>user:abcdef</s><s>a:`.
    const whole = [256, ...Buffer.from('user:abcdef'), 257, 256, ...Buffer.from('a:')]

    for (const [name, fields, ids] of [
      ['at the left', { truncate_prompt_tokens: 4 }, whole.slice(-4)],
      ['at the right', { truncate_prompt_tokens: 4, truncation_side: 'right' }, whole.slice(0, 4)],
      ['not at all where it fits', { truncate_prompt_tokens: 50 }, whole],
      ['to what the model takes', { truncate_prompt_tokens: -1 }, whole],
    ] as const) {
      it(name, async () => {
        const tokens = await ask(chat('abcdef', fields), cutting)
        assert.deepEqual(tokens, { prompts: [Int32Array.from(ids)], exact: true })
      })
    }

    it('of a completion and of token ids', async () => {
      const encoding = {
        addSpecialTokens: false,
        truncateTokens: 2,
        truncationSide: undefined,
        unfollowed: undefined,
      }
      const text: Prompt = { kind: 'text', texts: ['abc', 'x'], encoding }
      assert.deepEqual((await ask(text, cutting)).prompts, [
        Int32Array.from(Buffer.from('bc')),
        Int32Array.from(Buffer.from('x')),
      ])
      const tokens: Prompt = { kind: 'tokens', prompts: [Int32Array.of(1, 2, 3)], encoding }
      assert.deepEqual((await ask(tokens, cutting)).prompts, [Int32Array.of(2, 3)])
    })

    it('reads no side where the engine is too old for it', async () => {
      const old = make({ engines: { ...engines, versions: () => ['0.17.1'] } })
      const fields = { truncate_prompt_tokens: 4, truncation_side: 'right' }
      const tokens = await ask(chat('abcdef', fields), old)
      assert.deepEqual(tokens.prompts, [Int32Array.from(whole.slice(-4))])
      assert.equal((await ask(chat('abcdef', fields), make())).exact, false)
    })
  })

  describe('with images', () => {
    const picture = (url: string) => ({ type: 'image_url', image_url: { url } })
    const show = (url: string): Prompt =>
      chat('', {
        messages: [
          { role: 'system', content: 'be brief' },
          { role: 'user', content: [{ type: 'text', text: 'look' }, picture(url)] },
        ],
      })
    const before = [256, ...Buffer.from('system:be brief'), 257, 256, ...Buffer.from('user:')]

    it('says up to where the ids are the engine’s', async () => {
      const { tokenizer, metrics } = make()
      const tokens = await ask(show('a'), { ...make(), tokenizer, metrics })
      assert.deepEqual(
        [tokens.exact, tokens.exactUpTo, tokens.reason],
        [
          false,
          before.length,
          'a message has a part that is not text, whose tokens only the engine knows',
        ],
      )
      assert.deepEqual([...tokens.prompts[0]!.subarray(0, before.length)], before)
      const key = 'epp_tokenized_requests_total{result="guess",reason="media"}'
      assert.equal(metrics.counts.get(key), 1)
    })

    it('tells other images apart, and equal ones not', async () => {
      const from = make()
      const [a, again, b] = [
        await ask(show('a'), from),
        await ask(show('a'), from),
        await ask(show('b'), from),
      ]
      assert.deepEqual(a.prompts, again.prompts)
      assert.notDeepEqual(a.prompts, b.prompts)
      assert.deepEqual(
        a.prompts[0]!.subarray(0, before.length),
        b.prompts[0]!.subarray(0, before.length),
      )
      assert.notEqual(a.prompts[0]![before.length], b.prompts[0]![before.length])
    })
  })

  for (const [name, text] of [
    ['a NUL', 'a\u0000b'],
    ['emoji with joiners', '👩‍👩‍👧‍👦🏳️‍🌈'],
    ['combining marks', 'e\u0301\u0323 ñ'],
    ['right-to-left text', 'שלום \u202eمرحبا\u202c'],
    ['noncharacters', '\ufdd0a\ufdd1\uffff'],
    ['a byte order mark', '\ufeffa'],
    ['line separators', 'a\u2028b\u0085c\u001c'],
  ] as const) {
    it(`keeps ${name} of a chat as it is`, async () => {
      const { prompts, exact } = await ask(chat(text), make())
      const wanted = [...Buffer.from(`user:${text}`)]
      assert.equal(exact, true)
      assert.deepEqual([...prompts[0]!.subarray(1, 1 + wanted.length)], wanted)
    })
  }

  it('renders keys that are numbers in their order', async () => {
    const json =
      '{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"b":"x","1":"y"}}}]}'
    const prompt: Prompt = { kind: 'chat', body: JSON.parse(json), text: () => json }
    const { prompts, exact } = await ask(prompt)
    assert.equal(exact, true)
    assert.match(shared.tokenizer.decode(MODEL, prompts[0]!)!, /\{"b": "x", "1": "y"\}/)
  })

  it('estimates a chat that the template refuses, without quoting it', async () => {
    const strict = byteTokenizersDir(MODEL)
    writeFileSync(
      join(strict, MODEL, 'chat_template.jinja'),
      "{% if messages[0].role != 'user' %}{{ raise_exception('bad ' + messages[0].content) }}{% endif %}{{ messages[0].content }}",
    )
    const { tokenizer, logger } = make({ tokenizersDir: strict })
    const of = async (role: string): Promise<PromptTokens> => {
      const body = { messages: [{ role, content: 'secret' }] }
      return tokenizer.tokenize(requestFor(MODEL, { kind: 'chat', body }), new Cancellation())
    }
    assert.deepEqual(await of('user'), {
      prompts: [Int32Array.from(Buffer.from('secret'))],
      exact: true,
    })
    assert.equal((await of('system')).reason, 'the chat template refuses the messages')
    assert.ok(!logger.lines.join().includes('secret'))
    rmSync(strict, { recursive: true })
  })

  it('does not fail on nesting deeper than the stack', async () => {
    const deep = JSON.parse(`${'['.repeat(9_000)}1${']'.repeat(9_000)}`)
    const tools = [{ type: 'function', function: { name: 'f', parameters: deep } }]
    const body = { messages: [{ role: 'user', content: 'hi' }], tools }
    for (const more of [{}, { text: () => JSON.stringify(body) }]) {
      const { exact, reason } = await ask({ kind: 'chat', body, ...more })
      assert.equal(exact, false)
      assert.match(reason!, /RangeError|the chat template refuses the messages/)
    }
  })

  it('says once that there is no tokenizer, and estimates alike for like prompts', async () => {
    const { tokenizer, logger, metrics, notices } = make({ tokenizersDir: undefined })
    const of = async (content: string): Promise<PromptTokens> =>
      tokenizer.tokenize(requestFor(MODEL, chat(content)), new Cancellation())
    const [first, second] = [
      await of('Größe: one two three four'),
      await of('Größe: one two three five'),
    ]
    assert.equal(first.reason, 'no tokenizer is mounted; give --tokenizers-dir')
    const [a, b] = [first.prompts[0]!, second.prompts[0]!]
    assert.deepEqual(a, (await of('Größe: one two three four')).prompts[0])
    // "user\nGröße: one two three f" is 28 bytes.
    assert.deepEqual(a.subarray(0, 6), b.subarray(0, 6))
    assert.notDeepEqual(a, b)
    assert.equal(a[0], Buffer.from('user').readInt32LE())
    assert.equal(logger.lines.length, 1)
    assert.deepEqual(
      [...notices.texts],
      [
        [
          'tokenizer:no-tokenizer',
          'prompts are estimated, prefix matches are not exact: no tokenizer is mounted; give --tokenizers-dir',
        ],
      ],
    )
    assert.equal(
      metrics.counts.get('epp_tokenized_requests_total{result="estimate",reason="no-tokenizer"}'),
      3,
    )
    assert.equal(tokenizer.decode(MODEL, [1]), undefined)
  })

  it('says what is wrong with a tokenizer that cannot be read, and goes on', async () => {
    const broken = tokenizersDir()
    mkdirSync(join(broken, 'm'))
    writeFileSync(join(broken, 'm', 'tokenizer.json'), '{"model":')
    const { tokenizer, notices } = make({ tokenizersDir: broken })
    await tokenizer.prepare()
    assert.match(
      notices.texts.get('tokenizer:broken-tokenizer')!,
      /the tokenizer in .*m cannot be read: SyntaxError/,
    )
    const tokens = await tokenizer.tokenize(requestFor('m', chat('hi')), new Cancellation())
    assert.equal(tokens.exact, false)
    tokenizer.configure({ folders: {}, fallbackModel: undefined, engineUrl: undefined })
    assert.equal(notices.texts.size, 0)
    rmSync(broken, { recursive: true })
  })

  it('reads all tokenizers before the first request when asked to', async () => {
    const { tokenizer, logger } = make()
    await tokenizer.prepare()
    assert.match(logger.lines[0]!, /^tokenizer loaded .*"chatTemplate":true/)
    const prompt: Prompt = { kind: 'text', texts: [words(3000, 7)] }
    assert.equal(
      (await tokenizer.tokenize(requestFor(MODEL, prompt), new Cancellation())).exact,
      true,
    )
  })

  it('decodes, special tokens left out', () => {
    assert.equal(shared.tokenizer.decode(MODEL, [151644, 872, 198, 6023, 151645]), 'user\nhi')
  })

  describe('with an engine’s /tokenize', () => {
    let server: Server
    let answer: (body: Record<string, unknown>) => { status?: number; text: string } | undefined
    /** What `/v1/chat/completions/render` answers. */
    let rendering: { status?: number; text: string }
    const asked: Record<string, unknown>[] = []
    const texts: [url: string, text: string][] = []
    // Its folder for the model is not used: the engine is asked instead.
    const viaEngine = make({ budgetMs: 300 })

    before(async () => {
      server = createServer(async (request, response) => {
        const chunks: Buffer[] = []
        for await (const chunk of request) chunks.push(chunk as Buffer)
        const text = Buffer.concat(chunks).toString()
        const body = JSON.parse(text)
        const renders = request.url === '/v1/chat/completions/render'
        texts.push([request.url!, text])
        const reply = renders ? rendering : answer(body)
        if (!renders) asked.push(body)
        if (reply === undefined) return
        response.writeHead(reply.status ?? 200).end(reply.text)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    })
    const configure = (): void => {
      const { port } = server.address() as AddressInfo
      viaEngine.tokenizer.configure({
        folders: {},
        fallbackModel: undefined,
        engineUrl: `http://127.0.0.1:${port}/`,
      })
    }
    after(() => {
      server.closeAllConnections()
      server.close()
    })
    beforeEach(() => {
      asked.length = 0
      texts.length = 0
      rendering = { status: 403, text: '{"error":{"message":"disabled"}}' }
      configure()
      answer = () => ({ text: '{"count":2,"max_model_len":4096,"tokens":[11,12]}' })
    })

    it('asks with the fields that change the prompt', async () => {
      const tokens = await ask(
        chat('hi', { temperature: 1, chat_template_kwargs: { enable_thinking: false } }),
        viaEngine,
      )
      assert.deepEqual(tokens, { prompts: [Int32Array.of(11, 12)], exact: true })
      assert.deepEqual(asked, [
        {
          model: MODEL,
          messages: [{ role: 'user', content: 'hi' }],
          chat_template_kwargs: { enable_thinking: false },
        },
      ])
    })

    it('takes the ids of the chat’s own path where the engine renders', async () => {
      rendering = { text: '{"token_ids":[21,22,23],"features":null}' }
      const json = `{"messages":[{"role":"user","content":"hi"}],"tools":[{"n":1.0}],"reasoning_effort":"low"}`
      const prompt: Prompt = { kind: 'chat', body: JSON.parse(json), text: () => json }
      const tokens = await ask(prompt, viaEngine)
      assert.deepEqual(tokens, { prompts: [Int32Array.of(21, 22, 23)], exact: true })
      // Numbers are sent as they came.
      const sent = json.replace(/}$/, `,"model":"${MODEL}"}`)
      assert.deepEqual(texts, [['/v1/chat/completions/render', sent]])
    })

    it('knows up to where a rendered prompt with images matches', async () => {
      const placeholders = { image: [{ offset: 2, length: 1 }] }
      rendering = {
        text: JSON.stringify({
          token_ids: [1, 2, 9, 4],
          features: { mm_placeholders: placeholders },
        }),
      }
      const tokens = await ask(chat('hi'), viaEngine)
      assert.deepEqual([tokens.exact, tokens.exactUpTo], [false, 2])
    })

    it('asks an engine that does not render only once whether it does', async () => {
      await ask(chat('one'), viaEngine)
      await ask(chat('two'), viaEngine)
      const urls = texts.map(([url]) => url)
      assert.deepEqual(urls, ['/v1/chat/completions/render', '/tokenize', '/tokenize'])
    })

    it('remembers what a conversation was answered until the configuration changes', async () => {
      const first = await ask(chat('again'), viaEngine)
      assert.deepEqual(await ask(chat('again'), viaEngine), first)
      assert.equal(asked.length, 1)
      configure()
      await ask(chat('again'), viaEngine)
      assert.equal(asked.length, 2)
    })

    it('is not asked in the form of other APIs', async () => {
      const prompt: Prompt = { kind: 'chat', api: 'responses', body: { input: 'hi' } }
      const { exact, reason } = await ask(prompt, viaEngine)
      assert.deepEqual(
        [exact, reason, texts.length],
        [false, 'engines tokenize chat completions and completions only', 0],
      )
    })

    it('asks once for each text of a completion', async () => {
      const tokens = await ask({ kind: 'text', texts: ['a', 'b'] }, viaEngine)
      assert.equal(tokens.prompts.length, 2)
      assert.deepEqual(asked, [
        { model: MODEL, prompt: 'a' },
        { model: MODEL, prompt: 'b' },
      ])
    })

    it('is not sure where /tokenize reads less than the chat path', async () => {
      const tokens = await ask(chat('hi', { reasoning_effort: 'low' }), viaEngine)
      assert.deepEqual(
        [tokens.exact, tokens.reason],
        [false, "the engine's /tokenize does not read all fields of the request"],
      )
    })

    for (const [name, reply, reason] of [
      ['an error', { status: 500, text: 'x' }, "the engine's /tokenize answers 500"],
      ['what is not JSON', { text: '<html>' }, "the engine's /tokenize failed: SyntaxError"],
      [
        'no tokens',
        { text: '{"tokens":["a"]}' },
        "the engine's /tokenize answers no list of tokens",
      ],
      ['null', { text: 'null' }, "the engine's /tokenize answers no list of tokens"],
      [
        'too much',
        { text: ' '.repeat(9_000_000) },
        "the engine's /tokenize answers more than 8388608 bytes",
      ],
      ['nothing', undefined, 'the ids were not there in time'],
    ] as const) {
      it(`estimates when the engine answers ${name}`, async () => {
        answer = () => reply
        const tokens = await ask(chat('hi'), viaEngine)
        assert.equal(tokens.exact, false)
        assert.ok(
          tokens.reason === reason || (reply === undefined && /TimeoutError/.test(tokens.reason!)),
          tokens.reason,
        )
      })
    }

    it('shows the failure until the engine answers again', async () => {
      answer = () => ({ status: 503, text: '' })
      await ask(chat('hi'), viaEngine)
      assert.ok(viaEngine.notices.texts.has('tokenizer:engine-failed'))
      answer = () => ({ text: '{"tokens":[1]}' })
      await ask(chat('hi'), viaEngine)
      assert.ok(!viaEngine.notices.texts.has('tokenizer:engine-failed'))
    })
  })
})
