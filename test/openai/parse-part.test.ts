import assert from 'node:assert/strict'
import type { ChatPrompt } from '../../src/framework/request.ts'
import { closeJson } from '../../src/openai/close-json.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'

const CHAT = '/v1/chat/completions'
const close = (text: string | Buffer) => closeJson(Buffer.from(text))?.toString()
const part = (text: string | Buffer, path = CHAT) =>
  openAiApi.parsePart(path, new Map(), [Buffer.from(text)])

describe('closeJson', () => {
  for (const [cut, closed] of [
    ['{', '{}'],
    ['{"a', '{}'],
    ['{"a"', '{}'],
    ['{"a":', '{}'],
    ['{"a":tru', '{}'],
    ['{"a":12', '{}'],
    ['{"a":12,', '{"a":12}'],
    ['{"a":12 , "b', '{"a":12 }'],
    ['{"a":"b', '{"a":"b"}'],
    ['{"a":"b"', '{"a":"b"}'],
    ['{"a":"b","c":{"d":[1,2', '{"a":"b","c":{"d":[1]}}'],
    ['{"a":[{"b":"c"},{"d', '{"a":[{"b":"c"},{}]}'],
    ['{"a":[[1],"x', '{"a":[[1],"x"]}'],
    ['{"a":"}]\\"', '{"a":"}]\\""}'],
    ['{"a":"b\\', '{"a":"b"}'],
    ['{"a":"b\\\\', '{"a":"b\\\\"}'],
    ['{"a":"b\\u12', '{"a":"b"}'],
    ['{"a":"b\\u1234', '{"a":"b\\u1234"}'],
    ['{"a":"b\\\\u12', '{"a":"b\\\\u12"}'],
    ['{"a":"b\\n', '{"a":"b\\n"}'],
    ['{"a":"ü', '{"a":"ü"}'],
  ] as const) {
    it(`makes ${closed} of ${cut}`, () => {
      assert.equal(close(cut), closed)
      assert.doesNotThrow(() => JSON.parse(closed))
    })
  }

  for (const whole of ['', '1', '"a"', '{}', '{"a":"b"}', '[1] ', '"a']) {
    it(`has nothing to close in ${JSON.stringify(whole)}`, () =>
      assert.equal(close(whole), undefined))
  }

  it('cuts no character of UTF-8', () => {
    const bytes = Buffer.from('{"a":"xü€😀"}')
    for (let end = 6; end < bytes.length - 1; end++) {
      const text = JSON.parse(close(bytes.subarray(0, end))!).a as string
      assert.ok('xü€😀'.startsWith(text), JSON.stringify(text))
    }
  })

  it('makes JSON of every beginning of a body, and never says what the body does not', () => {
    const body = JSON.stringify({
      model: 'a "b" \\ c',
      n: [1.5, -2e9, true, null, { 'k\n': ['x', {}, []] }],
      messages: [{ role: 'user', content: 'line\n\u0001 ü 😀 \\u0041' }],
    })
    const bytes = Buffer.from(body)
    for (let end = 1; end < bytes.length; end++) {
      const said = JSON.parse(close(bytes.subarray(0, end))!) as Record<string, unknown>
      const model = said.model as string | undefined
      assert.ok(model === undefined || 'a "b" \\ c'.startsWith(model))
    }
  })
})

describe('openAiApi.parsePart', () => {
  const body = JSON.stringify({
    model: 'm',
    stream: true,
    messages: [
      { role: 'system', content: 'be kind' },
      { role: 'user', content: 'hello world' },
    ],
    cache_salt: 'tenant',
  })
  const messages = (text: string) => (part(text).prompt as ChatPrompt | undefined)?.body.messages

  it('reads a whole body as parse does', () => {
    const { isCut, ...parsed } = part(body)
    assert.equal(isCut, false)
    assert.equal(parsed.cacheSalt, 'tenant')
    assert.deepEqual(parsed.prompt?.kind, 'chat')
    assert.throws(() => part('{"model":1}'), { code: 'BAD_REQUEST' })
    assert.throws(() => part('no JSON'), { code: 'BAD_REQUEST' })
  })

  it('reads messages as far as they have come', () => {
    const said = part(body.slice(0, body.indexOf(' world')))
    assert.equal(said.isCut, true)
    assert.equal(said.model, 'm')
    assert.equal(said.stream, true)
    assert.equal(said.cacheSalt, undefined)
    assert.deepEqual(messages(body.slice(0, body.indexOf(' world'))), [
      { role: 'system', content: 'be kind' },
      { role: 'user', content: 'hello' },
    ])
  })

  it('reads the prompt of a completion, and ids', () => {
    const text = part('{"model":"m","prompt":"once up', '/v1/completions').prompt
    assert.deepEqual(text?.kind === 'text' && text.texts, ['once up'])
    const ids = part('{"model":"m","prompt":[1,2,30', '/v1/completions').prompt
    assert.deepEqual(ids?.kind === 'tokens' && ids.prompts, [Int32Array.of(1, 2)])
  })

  it('reads what stands beside a prompt that cannot be read', () => {
    const said = part('{"model":"m","stream":true,"messages":[{"content":"x')
    assert.deepEqual(
      [said.model, said.stream, said.prompt, said.isCut],
      ['m', true, undefined, true],
    )
  })

  it('never throws for a body that is cut, whatever it is', () => {
    for (let end = 1; end < body.length; end++) assert.equal(part(body.slice(0, end)).isCut, true)
    for (const odd of [
      '{"model":5,"x":"',
      '[[[[',
      '{"messages":{"a":"',
      `{"a":${'['.repeat(300_000)}`,
    ]) {
      assert.deepEqual([part(odd).model, part(odd).isCut], ['', true])
    }
  })
})
