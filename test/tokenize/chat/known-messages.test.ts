import assert from 'node:assert/strict'
import { seededRandom } from '../../../src/framework/random.ts'
import type { ChatPrompt } from '../../../src/framework/request.ts'
import { openAiApi } from '../../../src/openai/openai-api.ts'
import { KnownMessages, type ReadChat } from '../../../src/tokenize/chat/known-messages.ts'
import { parsePythonJson } from '../../../src/tokenize/chat/python-json.ts'

function promptOf(json: string): ChatPrompt {
  const body = [Buffer.from(json)]
  return openAiApi.parse('/v1/chat/completions', new Map(), body).prompt as ChatPrompt
}

const messagesOf = (prompt: ChatPrompt) => prompt.body.messages as readonly object[]

/** Messages are remembered when the event loop has come around. */
async function read(known: KnownMessages, prompt: ChatPrompt): Promise<ReadChat> {
  const result = known.read(prompt)
  await new Promise((then) => setImmediate(then))
  return result
}

describe('KnownMessages', () => {
  it('gives the messages with which an earlier chat began as the same objects', async () => {
    const known = new KnownMessages(1_000_000)
    const turn = (count: number) =>
      promptOf(
        JSON.stringify({
          model: 'm',
          messages: Array.from({ length: count }, (_, i) => ({ role: 'user', content: `"${i}\\` })),
          stream: true,
        }),
      )
    const first = messagesOf(await read(known, turn(3)))
    const second = messagesOf(await read(known, turn(5)))
    const third = messagesOf(await read(known, turn(5)))
    assert.deepEqual(second, messagesOf(turn(5)))
    for (const i of [0, 1, 2]) assert.equal(second[i], first[i])
    for (const i of [0, 1, 2, 3, 4]) assert.equal(third[i], second[i])
  })

  it('gives a message that came before, wherever it stands, and none that only looks like it', async () => {
    const known = new KnownMessages(1_000_000)
    const chat = (...contents: readonly string[]) =>
      promptOf(JSON.stringify({ messages: contents.map((content) => ({ role: 'user', content })) }))
    const [a, b] = messagesOf(await read(known, chat('a', 'b')))
    const [other, again] = messagesOf(await read(known, chat('c', 'a')))
    assert.equal(again, a)
    assert.notEqual(other, b)
    const respelt = promptOf('{"messages":[{"role": "user","content":"a"}]}')
    assert.notEqual(messagesOf(await read(known, respelt))[0], a)
  })

  for (const [name, json] of [
    ['messages twice', '{"messages":[{"role":"a"}],"messages":[{"role":"b"}]}'],
    [
      'messages again in other letters',
      '{"messages":[{"role":"a"}],"m\\u0065ssages":[{"role":"b"}]}',
    ],
    ['a message with its role in other letters', '{"messages":[{"\\u0072ole":"a"}]}'],
  ] as const) {
    it(`leaves a body with ${name} as it is`, () => {
      const prompt = promptOf(json)
      assert.equal(new KnownMessages(1_000_000).read(prompt), prompt)
    })
  }

  it('leaves a body that was made rather than sent as it is', () => {
    const prompt: ChatPrompt = { kind: 'chat', body: { messages: [{ role: 'user' }] } }
    assert.equal(new KnownMessages(1_000_000).read(prompt), prompt)
  })

  it('reads what JSON.parse reads, and remembers no more than it may', async () => {
    const known = new KnownMessages(30_000)
    const random = seededRandom(3)
    const below = (count: number) => Math.floor(random.next() * count)
    const pick = <T>(list: readonly T[]): T => list[below(list.length)]!
    const space = () => pick(['', '', '', ' ', '\n\t', '\r '])
    const text = () =>
      JSON.stringify(
        Array.from({ length: below(5) }, () =>
          pick([
            '"',
            '\\',
            '\\"',
            '{',
            '}',
            '[',
            ']',
            ',',
            ':',
            'é',
            '你',
            '\ud83d\ude00',
            'word ',
          ]),
        ).join(''),
      )
    const list = (items: readonly string[], open: string, close: string) =>
      `${open}${space()}${items.map((item) => `${item}${space()}`).join(`,${space()}`)}${close}`
    const value = (depth: number): string => {
      const items = () => Array.from({ length: below(3) }, () => value(depth + 1))
      switch (below(depth > 2 ? 3 : 5)) {
        case 0:
          return pick(['true', 'null', '-1.5e3', '0'])
        case 1:
        case 2:
          return text()
        case 3:
          return list(items(), '[', ']')
        default:
          return list(
            items().map((item) => `${text()}${space()}:${space()}${item}`),
            '{',
            '}',
          )
      }
    }
    const message = () =>
      `{${space()}"role"${space()}:${text()},"content":${text()},"more":${value(0)}${space()}}`
    let conversations: string[][] = [[]]
    let count = 0
    for (let i = 0; i < 1000; i++) {
      const begun = pick(conversations)
      const messages = [...begun.slice(0, begun.length - below(2)), message(), message()]
      conversations = [...conversations, messages].slice(-20)
      const before = below(2) === 0 ? [] : [`"model":"m"`, `${text()}:${value(0)}`]
      const after = below(2) === 0 ? [] : [`"tools":${value(0)}`, `"stream":true`]
      const all = [
        ...before,
        `"messages"${space()}:${space()}${list(messages, '[', ']')}`,
        ...after,
      ]
      const json = `${space()}${list(all, '{', '}')}${space()}`
      const chat = await read(known, promptOf(json))
      assert.deepEqual(chat.body, JSON.parse(json), json)
      assert.deepEqual(chat.pythonBody?.() ?? parsePythonJson(json), parsePythonJson(json), json)
      if (chat.pythonBody !== undefined) count++
      assert.ok(known.bytes <= 30_000)
    }
    assert.ok(known.bytes > 10_000)
    assert.ok(count > 700, `${count} of 1000 read by message`)
  })
})
