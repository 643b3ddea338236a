import assert from 'node:assert/strict'
import { SchedulerError } from '../../src/framework/errors.ts'
import type { Prompt } from '../../src/framework/request.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'

const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'
const EMBEDDINGS = '/v1/embeddings'
const NO_HEADERS = new Map<string, string>()

const parseBytes = (path: string, ...pieces: Uint8Array[]) =>
  openAiApi.parse(path, NO_HEADERS, pieces)
const parse = (path: string, body: unknown) => parseBytes(path, Buffer.from(JSON.stringify(body)))

/** What is in the prompt. */
function dataOf(prompt: Prompt | undefined): unknown {
  if (prompt?.kind !== 'text') return prompt
  const { kind, texts, encoding } = prompt
  return { kind, texts, ...(encoding && { encoding }) }
}

function refusal(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof SchedulerError)
    assert.equal(error.code, 'BAD_REQUEST')
    assert.equal(error.cause, undefined)
    return error.message
  }
  assert.fail('it was taken')
}

describe('openAiApi.parse', () => {
  it('reads a chat and hands on its whole body', () => {
    const body = {
      model: 'm',
      messages: [{ role: 'user', content: 'hi' }],
      stream: true,
      cache_salt: 'tenant',
      max_completion_tokens: 7,
      max_tokens: 9,
      tools: [],
    }
    const parsed = parse(CHAT, body)
    assert.ok(parsed.prompt?.kind === 'chat')
    const { api, body: whole } = parsed.prompt
    assert.equal(parsed.prompt.text?.(), JSON.stringify(body))
    assert.deepEqual(
      { ...parsed, prompt: { api, body: whole } },
      {
        model: 'm',
        prompt: { api: 'chat', body },
        stream: true,
        cacheSalt: 'tenant',
        maxOutputTokens: 7,
      },
    )
  })

  it('keeps the text of a chat that came in pieces', () => {
    const json = '\ufeff{"messages":[{"role":"user","content":"é"}],"a":1.0}'
    const bytes = Buffer.from(json)
    for (let cut = 0; cut < bytes.length; cut += 7) {
      const { prompt } = parseBytes(CHAT, bytes.subarray(0, cut), bytes.subarray(cut))
      assert.ok(prompt?.kind === 'chat')
      assert.equal(prompt.text?.(), json.slice(1))
    }
  })

  for (const [path, api] of [
    ['/v1/messages', 'messages'],
    ['/prefix/v1/responses?x=1', 'responses'],
  ] as const) {
    it(`reads a chat of ${path}`, () => {
      const body = {
        model: 'm',
        messages: [{ role: 'user', content: 'x' }],
        input: 'x',
        system: 's',
      }
      const { prompt } = parse(path, body)
      assert.ok(prompt?.kind === 'chat')
      assert.deepEqual([prompt.api, prompt.body], [api, body])
    })
  }

  it('has no prompt for counting tokens, nor for a response whose input is elsewhere', () => {
    const body = { model: 'm', messages: [{ role: 'user', content: 'x' }] }
    assert.equal(parse('/v1/messages/count_tokens', body).prompt, undefined)
    assert.equal(parse('/v1/responses', { model: 'm', prompt: { id: 'p' } }).prompt, undefined)
  })

  describe('what a completion asks of its encoding', () => {
    const none = {
      addSpecialTokens: undefined,
      truncateTokens: undefined,
      truncationSide: undefined,
      unfollowed: undefined,
    }
    for (const [path, fields, encoding] of [
      [COMPLETIONS, { add_special_tokens: true, truncation_side: 'left' }, undefined],
      [COMPLETIONS, { add_special_tokens: false }, { ...none, addSpecialTokens: false }],
      [
        COMPLETIONS,
        { truncate_prompt_tokens: 5, truncation_side: 'right' },
        { ...none, truncateTokens: 5, truncationSide: 'right' },
      ],
      [COMPLETIONS, { suffix: 'end' }, { ...none, unfollowed: 'a suffix' }],
      [
        EMBEDDINGS,
        { truncate_prompt_tokens: -1 },
        { ...none, truncateTokens: -1, unfollowed: 'truncate_prompt_tokens for embeddings' },
      ],
    ] as const) {
      it(`is kept: ${JSON.stringify(fields)} of ${path}`, () => {
        const { prompt } = parse(path, { model: 'm', prompt: ['a'], input: ['a'], ...fields })
        const wanted = { kind: 'text', texts: ['a'], ...(encoding && { encoding }) }
        assert.deepEqual(prompt, wanted)
      })
    }
  })

  const prompts: [string, unknown, unknown][] = [
    ['a string', 'abc', { kind: 'text', texts: ['abc'] }],
    ['strings', ['a', 'b'], { kind: 'text', texts: ['a', 'b'] }],
    [
      'token ids',
      [1, 2, 2 ** 31 - 1],
      { kind: 'tokens', prompts: [Int32Array.of(1, 2, 2 ** 31 - 1)] },
    ],
    [
      'arrays of token ids',
      [[1, 2], [3]],
      { kind: 'tokens', prompts: [Int32Array.of(1, 2), Int32Array.of(3)] },
    ],
  ]
  for (const [name, value, prompt] of prompts) {
    it(`takes ${name} as a completion's prompt and an embedding's input`, () => {
      assert.deepEqual(dataOf(parse(COMPLETIONS, { model: 'm', prompt: value }).prompt), prompt)
      assert.deepEqual(dataOf(parse(EMBEDDINGS, { model: 'm', input: value }).prompt), prompt)
    })
  }

  it('leaves out what is absent or null', () => {
    assert.deepEqual(parse('/v1/rerank', { model: null, stream: null, cache_salt: null }), {
      model: '',
      prompt: undefined,
      stream: false,
      cacheSalt: undefined,
      maxOutputTokens: undefined,
    })
  })

  it('passes other paths without looking for a prompt', () => {
    const parsed = parse('/v1/responses', { model: 'm', input: { odd: true }, stream: true })
    assert.deepEqual([parsed.model, parsed.prompt, parsed.stream], ['m', undefined, true])
  })

  it('looks at the first 1024 prompts', () => {
    const many = <T>(prompt: T) => Array.from({ length: 2000 }, () => prompt)
    const texts = parse(COMPLETIONS, { model: 'm', prompt: many('a') }).prompt
    assert.ok(texts?.kind === 'text' && texts.texts.length === 1024)
    const tokens = parse(COMPLETIONS, { model: 'm', prompt: many([1]) }).prompt
    assert.ok(tokens?.kind === 'tokens' && tokens.prompts.length === 1024)
  })

  it('takes a prefix before the path and a query after it', () => {
    assert.equal(
      parse('/openai/v1/completions?x=/v1/chat/completions', { prompt: 'p' }).prompt?.kind,
      'text',
    )
  })

  it('has no prompt for embeddings in its place, nor for an embedded chat', () => {
    assert.equal(parse(COMPLETIONS, { prompt_embeds: 'AAAA' }).prompt, undefined)
    assert.equal(
      parse(EMBEDDINGS, { messages: [{ role: 'user', content: 'x' }] }).prompt,
      undefined,
    )
  })

  it('joins pieces, also where a character is cut', () => {
    const bytes = Buffer.from(JSON.stringify({ model: 'm', prompt: 'größer 🦙' }))
    for (let cut = 0; cut <= bytes.length; cut++) {
      const { prompt } = parseBytes(COMPLETIONS, bytes.subarray(0, cut), bytes.subarray(cut))
      assert.deepEqual(dataOf(prompt), { kind: 'text', texts: ['größer 🦙'] })
    }
  })

  it('takes a byte order mark and bytes that are no Buffer', () => {
    const bytes = new Uint8Array(Buffer.from('\ufeff{"prompt":"ä"}'))
    assert.deepEqual(parseBytes(COMPLETIONS, bytes).prompt, { kind: 'text', texts: ['ä'] })
  })

  const SECRET = 'hunter2'
  const notJson: [string, Buffer, string][] = [
    ['nothing', Buffer.alloc(0), 'the request body is empty; send a JSON object'],
    ['text', Buffer.from(SECRET), 'the request body is not JSON; send a JSON object'],
    [
      'a cut string',
      Buffer.from(`{"prompt":"${SECRET}`),
      'the request body ends in the middle of its JSON; send all of it',
    ],
    [
      'a cut object',
      Buffer.from(`{"prompt":"${SECRET}"`),
      'the request body ends in the middle of its JSON; send all of it',
    ],
    [
      'a cut value',
      Buffer.from('{"prompt":'),
      'the request body ends in the middle of its JSON; send all of it',
    ],
    [
      'an array',
      Buffer.from(`["${SECRET}"]`),
      'the request body must be a JSON object, got an array',
    ],
    ['null', Buffer.from('null'), 'the request body must be a JSON object, got null'],
    [
      'invalid UTF-8',
      Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
      'the request body is not valid UTF-8; encode it as UTF-8',
    ],
  ]
  for (const [name, bytes, message] of notJson) {
    it(`refuses ${name} on any path`, () => {
      for (const path of [CHAT, COMPLETIONS, EMBEDDINGS, '/v1/other']) {
        assert.equal(
          refusal(() => parseBytes(path, bytes)),
          message,
        )
      }
    })
  }

  const expected = 'send a string, an array of strings, token ids, or arrays of token ids'
  const wrong: [string, unknown, string][] = [
    [CHAT, {}, '"messages" is missing; send at least one message'],
    [CHAT, { messages: [] }, '"messages" is empty; send at least one message'],
    [CHAT, { messages: SECRET }, '"messages" must be an array, got a string'],
    [CHAT, { messages: [SECRET] }, '"messages[0]" must be an object, got a string'],
    [
      CHAT,
      { messages: [{ role: 'user' }, {}] },
      '"messages[1].role" must be a string, got nothing',
    ],
    [CHAT, { model: 3, messages: [{ role: 'user' }] }, '"model" must be a string, got a number'],
    [COMPLETIONS, {}, `"prompt" is missing; ${expected}`],
    [COMPLETIONS, { prompt: 5 }, `"prompt" must not be a number; ${expected}`],
    [COMPLETIONS, { prompt: { a: SECRET } }, `"prompt" must not be an object; ${expected}`],
    [COMPLETIONS, { prompt: [] }, `"prompt" is empty; ${expected}`],
    [
      COMPLETIONS,
      { prompt: ['a', 1] },
      '"prompt[1]" must be a string as "prompt[0]" is, got a number',
    ],
    [
      COMPLETIONS,
      { prompt: [1, -1] },
      '"prompt[1]" must be a whole number from 0 to 2147483647, got another number',
    ],
    [
      COMPLETIONS,
      { prompt: [1, 1.5] },
      '"prompt[1]" must be a whole number from 0 to 2147483647, got another number',
    ],
    [
      COMPLETIONS,
      { prompt: [2 ** 31] },
      '"prompt[0]" must be a whole number from 0 to 2147483647, got another number',
    ],
    [
      COMPLETIONS,
      { prompt: [1, SECRET] },
      '"prompt[1]" must be a whole number from 0 to 2147483647, got a string',
    ],
    [COMPLETIONS, { prompt: [[1], []] }, '"prompt[1]" is empty; send at least one token id'],
    [COMPLETIONS, { prompt: [[1], 2] }, '"prompt[1]" must be an array of token ids, got a number'],
    [COMPLETIONS, { prompt: 'p', cache_salt: 1 }, '"cache_salt" must be a string, got a number'],
    [EMBEDDINGS, { input: null }, `"input" is missing; ${expected}`],
    [
      EMBEDDINGS,
      { input: [true] },
      '"input[0]" must be a whole number from 0 to 2147483647, got a boolean',
    ],
  ]
  for (const [path, body, message] of wrong) {
    it(`refuses ${JSON.stringify(body)} on ${path} without quoting it`, () => {
      const said = refusal(() => parse(path, body))
      assert.equal(said, message)
      assert.ok(!said.includes(SECRET))
    })
  }
})
