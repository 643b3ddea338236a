import assert from 'node:assert/strict'
import { openAiApi } from '../../src/openai/openai-api.ts'

function scan(...chunks: (string | Uint8Array)[]) {
  const scanner = openAiApi.usageScanner()
  for (const chunk of chunks) scanner.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
  return scanner.usage()
}

const JSON_BODY = JSON.stringify({
  choices: [{ message: { content: 'the "usage": {"prompt_tokens": 1} of it' } }],
  usage: {
    prompt_tokens: 309,
    completion_tokens: 12,
    total_tokens: 321,
    prompt_tokens_details: { cached_tokens: 128 },
  },
})

const SSE = [
  'data: {"choices":[{"delta":{"content":"\\"usage\\":{\\"prompt_tokens\\":9}"}}],"usage":null}\n\n',
  'data: {"choices":[{"delta":{"content":"usage"}}]}\n\n',
  'data: {"choices":[],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}\n\n',
  'data: [DONE]\n\n',
].join('')

describe('openAiApi.usageScanner', () => {
  it('reads the usage of a JSON body', () => {
    assert.deepEqual(scan(JSON_BODY), {
      promptTokens: 309,
      completionTokens: 12,
      cachedTokens: 128,
    })
  })

  it('reads the usage of server-sent events', () => {
    assert.deepEqual(scan(SSE), { promptTokens: 7, completionTokens: 3, cachedTokens: undefined })
  })

  for (const [name, text] of [
    ['a JSON body', JSON_BODY],
    ['indented JSON', JSON.stringify(JSON.parse(JSON_BODY), null, 2)],
    ['server-sent events', SSE],
  ] as const) {
    it(`finds the same in ${name}, cut anywhere`, () => {
      const whole = scan(text)
      assert.ok(whole)
      const bytes = Buffer.from(text)
      for (let cut = 0; cut <= bytes.length; cut++) {
        assert.deepEqual(scan(bytes.subarray(0, cut), bytes.subarray(cut)), whole)
      }
      assert.deepEqual(scan(...[...bytes].map((byte) => Uint8Array.of(byte))), whole)
    })
  }

  it('is not fooled by a key that ends with the word after an escaped quote', () => {
    assert.equal(scan('{"\\"usage":{"prompt_tokens":1}}'), undefined)
    assert.equal(scan('{"\\', '"usage":{"prompt_tokens":1}}'), undefined)
  })

  it('finds a key that follows the word, or shares a quote with it', () => {
    const usage = '{"prompt_tokens":1,"completion_tokens":2}'
    for (const text of [
      `xusage"usage":${usage}`,
      `usage"usage":${usage}`,
      `"usage""usage":${usage}`,
      `usageusage" "usage" : ${usage}`,
    ]) {
      assert.equal(scan(text)?.completionTokens, 2, text)
      assert.equal(scan(...text)?.completionTokens, 2, text)
    }
    assert.equal(scan(`"usage"usage":${usage}`), undefined)
    assert.equal(scan(`xusage":${usage}`), undefined)
  })

  it('is not fooled by a value that is the word', () => {
    assert.equal(scan('{"a":"usage","b":{"prompt_tokens":1}}'), undefined)
  })

  it('reads the spelling of the Responses API, on the level where it stands', () => {
    const event = {
      response: {
        usage: { input_tokens: 5, output_tokens: 6, input_tokens_details: { cached_tokens: 4 } },
      },
    }
    assert.deepEqual(scan(`data: ${JSON.stringify(event)}\n\n`), {
      promptTokens: 5,
      completionTokens: 6,
      cachedTokens: 4,
    })
  })

  it('merges counts that come one after the other', () => {
    assert.deepEqual(
      scan(
        '{"message":{"usage":{"input_tokens":25,"cache_read_input_tokens":16}}}',
        '{"usage":{"output_tokens":15}}',
      ),
      { promptTokens: 41, completionTokens: 15, cachedTokens: 16 },
    )
  })

  it('counts the last usage where each chunk has one', () => {
    const chunk = (n: number) => `data: {"usage":{"prompt_tokens":7,"completion_tokens":${n}}}\n\n`
    assert.equal(scan(chunk(1), chunk(2), chunk(3))?.completionTokens, 3)
  })

  for (const usage of [
    'null',
    '{}',
    '"x"',
    '{"prompt_tokens":"7"}',
    '{"prompt_tokens":-1}',
    '{bad}',
  ]) {
    it(`finds nothing in "usage": ${usage}`, () => {
      assert.equal(scan(`{"usage":${usage}}`), undefined)
    })
  }

  it('finds what comes after an object without end, and holds little of it', () => {
    const scanner = openAiApi.usageScanner()
    scanner.push(Buffer.from('{"usage":{"x":"'))
    const noise = Buffer.alloc(64 * 1024, 'x')
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 1000; i++) scanner.push(noise)
    assert.ok(process.memoryUsage().arrayBuffers - before < 8 * 1024 * 1024)
    scanner.push(Buffer.from('{"usage":{"prompt_tokens":1,"completion_tokens":2}}'))
    assert.deepEqual(scanner.usage(), {
      promptTokens: 1,
      completionTokens: 2,
      cachedTokens: undefined,
    })
  })

  it('survives random bytes', () => {
    let state = 3
    const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8
    const parts = ['"usage"', ':', '{', '}', '"', '\\', ' ', '"prompt_tokens":3', ',', 'x']
    const scanner = openAiApi.usageScanner()
    for (let i = 0; i < 50_000; i++) scanner.push(Buffer.from(parts[random() % parts.length]!))
    scanner.push(Buffer.from('\n\n{"usage":{"completion_tokens":2}}'))
    assert.equal(typeof scanner.usage(), 'object')
  })
})
