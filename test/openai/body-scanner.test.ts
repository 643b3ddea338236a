import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { SchedulerError } from '../../src/framework/errors.ts'
import { DEFAULT_LIMITS } from '../../src/framework/limits.ts'
import { seededRandom } from '../../src/framework/random.ts'
import type { Prompt } from '../../src/framework/request.ts'
import { SOURCE_SHA256 } from '../../src/openai/body-scan-wasm.ts'
import { BodyScanner } from '../../src/openai/body-scanner.ts'
import { type BodyReading, parseRequest } from '../../src/openai/parse-request.ts'
import { estimateTokens } from '../../src/tokenize/estimate.ts'

const PATHS = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/messages',
  '/v1/responses',
  '/v1/models',
]
const MAX_BYTES = 4 * 1024 * 1024

/** Bodies as people and machines write them: any white space, any escapes, any fields. */
class Bodies {
  readonly #random: ReturnType<typeof seededRandom>

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  below(count: number): number {
    return Math.floor(this.#random.next() * count)
  }

  /** JSON that JSON.parse takes, and whose tools and tool calls are as JSON.stringify writes them. */
  body(): string {
    const members = [`"model":${this.#string()}`]
    if (this.below(4) > 0) members.push(`"messages":${this.#messages()}`)
    if (this.below(3) === 0) members.push(`"prompt":${this.#prompt()}`)
    if (this.below(3) === 0) members.push(`"input":${this.#prompt()}`)
    if (this.below(3) === 0) members.push(`"tools":${JSON.stringify([{ f: this.#text() }, 1.5])}`)
    if (this.below(2) === 0) members.push(`"stream":${this.#one('true', 'false', 'null', '"x"')}`)
    if (this.below(2) === 0) {
      members.push(`"max_tokens":${this.#one('7', '1e2', '-3', '0.5', '12345678901234567890')}`)
    }
    if (this.below(3) === 0) members.push(`"cache_salt":${this.#string()}`)
    if (this.below(4) === 0) members.push(`"__proto__":${this.#value(2)}`)
    if (this.below(4) === 0) members.push(`${this.#string()}:${this.#value(3)}`)
    if (this.below(8) === 0) members.push(this.#one('"model":"again"', '"\\u006dodel":"m"'))
    if (this.below(12) === 0) members.push('"messages":[{"role":"user"}]')
    members.sort(() => this.#random.next() - 0.5)
    const blank = this.#blank()
    return `${blank}{${members.map((each) => blank + each + blank).join(',')}}${blank}`
  }

  /** The same with a few bytes changed, cut out or put in. */
  mutated(body: Buffer): Buffer {
    let bytes = Buffer.from(body)
    for (let n = 1 + this.below(3); n > 0; n--) {
      const at = this.below(bytes.length + 1)
      const odd = Buffer.from([...'"\\{}[],:0-.eutn \u0001\u00ff'][this.below(18)]!, 'latin1')
      const rest = bytes.subarray(Math.min(bytes.length, at + this.below(3)))
      const put = this.below(3) === 0 ? [] : [odd]
      bytes = Buffer.concat([bytes.subarray(0, at), ...put, rest])
      if (this.below(10) === 0) bytes = bytes.subarray(0, this.below(bytes.length))
    }
    return bytes
  }

  #one(...texts: readonly string[]): string {
    return texts[this.below(texts.length)]!
  }

  #blank(): string {
    return this.#one('', '', ' ', '\n\t', '\r\n  ')
  }

  #text(): string {
    const letters = [
      'a',
      ' ',
      'the ',
      '"',
      '\\',
      '/',
      '\n',
      '\t',
      'é',
      '中',
      '🦙',
      '\u0000',
      '\ud800',
    ]
    return Array.from({ length: this.below(40) }, () => letters[this.below(letters.length)]).join(
      '',
    )
  }

  /** A string with some of its characters escaped that need not be. */
  #string(): string {
    const text = JSON.stringify(this.#text())
      .slice(1, -1)
      .replace(/\/|é|中|🦙/gu, (letter) => {
        if (this.below(2) === 0) return letter
        if (letter === '/') return '\\/'
        const units = letter
          .split('')
          .map((unit) => unit.charCodeAt(0).toString(16).padStart(4, '0'))
        return units.map((unit) => `\\u${this.below(2) === 0 ? unit : unit.toUpperCase()}`).join('')
      })
    return `"${text}"`
  }

  #messages(): string {
    const messages = Array.from({ length: this.below(5) }, () => {
      const members = [`"role":${this.below(30) === 0 ? '7' : this.#string()}`]
      if (this.below(6) > 0) members.push(`"content":${this.#content()}`)
      if (this.below(5) === 0) {
        members.push(`"tool_calls":${JSON.stringify([{ id: this.#text(), n: [1, null] }])}`)
      }
      if (this.below(6) === 0) members.push(`"name":${this.#value(2)}`)
      if (this.below(30) === 0) members.push('"content":"twice"')
      if (this.below(30) === 0) members.shift()
      members.sort(() => this.#random.next() - 0.5)
      return `{${members.join(`,${this.#blank()}`)}}`
    })
    return `[${messages.join(`${this.#blank()},`)}]`
  }

  #content(): string {
    if (this.below(3) > 0)
      return this.below(8) === 0 ? this.#one('null', '3', '{}') : this.#string()
    const parts = Array.from({ length: this.below(4) }, () => {
      const kinds = [
        () => this.#string(),
        () => `{"type":"text","text":${this.#string()}}`,
        () => JSON.stringify({ type: 'image_url', image_url: { url: this.#text() } }),
        () => JSON.stringify({ text: [this.#text()] }),
        () => this.#one('null', '1', '{}', '[1,2]', 'true'),
      ]
      return kinds[this.below(kinds.length)]!()
    })
    return `[${parts.join(' , ')}]`
  }

  #prompt(): string {
    return this.#one(
      this.#string(),
      `[${this.#string()},${this.#string()}]`,
      '[1,2,3]',
      '[[4],[5]]',
    )
  }

  #value(depth: number): string {
    const leaf = () => this.#one('1', '-0', '1.25e-7', 'true', 'false', 'null', this.#string())
    if (depth === 0) return leaf()
    return this.#one(
      leaf(),
      `[${this.#value(depth - 1)}, ${this.#value(depth - 1)}]`,
      `{${this.#string()} : ${this.#value(depth - 1)}}`,
      '[]',
      '{ }',
    )
  }
}

const scanning: BodyReading = { limits: DEFAULT_LIMITS, scanner: new BodyScanner(DEFAULT_LIMITS) }
const parsing: BodyReading = { limits: DEFAULT_LIMITS, scanner: { scan: () => undefined } }

/** All that is read of a body, or the error's message. */
function readingOf(path: string, body: Buffer, reading: BodyReading): unknown {
  try {
    const { prompt, ...rest } = parseRequest(path, [body], reading)
    if (prompt?.kind === 'chat')
      return { ...rest, api: prompt.api, body: prompt.body, text: prompt.text!() }
    if (prompt?.kind === 'text') return { ...rest, texts: prompt.texts, encoding: prompt.encoding }
    return { ...rest, prompt }
  } catch (error) {
    assert.ok(error instanceof SchedulerError, String(error))
    return error.message
  }
}

const flat = (path: string, body: Buffer, reading: BodyReading) => {
  const { prompt } = parseRequest(path, [body], reading)
  return prompt && estimateTokens(prompt)
}

/** No prompt where the body is refused. */
function parseChat(body: Buffer): { readonly prompt: Prompt | undefined } {
  try {
    return parseRequest('/v1/chat/completions', [body], scanning)
  } catch {
    return { prompt: undefined }
  }
}

describe('BodyScanner', () => {
  for (const seed of [1, 2, 3]) {
    it(`reads a body as JSON.parse does, seed ${seed}`, () => {
      const bodies = new Bodies(seed)
      let scanned = 0
      let refused = 0
      for (let i = 0; i < 1500; i++) {
        const whole = Buffer.from(bodies.body())
        const body = i % 3 === 0 ? whole : bodies.mutated(whole)
        const path = PATHS[bodies.below(PATHS.length)]!
        const expected = readingOf(path, body, parsing)
        assert.deepEqual(readingOf(path, body, scanning), expected, body.toString())
        if (scanning.scanner.scan(body) !== undefined) scanned++
        if (typeof expected === 'string') refused++
        else if (i % 3 === 0) {
          assert.deepEqual(flat(path, body, scanning), flat(path, body, parsing), body.toString())
        }
      }
      assert.ok(scanned > 250, `${scanned} were scanned`)
      assert.ok(refused > 300, `${refused} were refused`)
    })
  }

  it('tells the text of a chat that came before another one', () => {
    const chat = (content: string) =>
      Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content }] }))
    const { prompt } = parseRequest(PATHS[0]!, [chat('first é')], scanning)
    parseRequest(PATHS[0]!, [chat('second')], scanning)
    assert.ok(prompt?.kind === 'chat')
    assert.equal(
      Buffer.from(prompt.words!(MAX_BYTES)!.buffer).toString('latin1').slice(0, 10),
      'user\nfirst',
    )
  })

  it('tells where each message stands, and messages apart', () => {
    const bodies = new Bodies(4)
    const jsons = new Map<number, Set<string>>()
    let count = 0
    for (let i = 0; i < 1500; i++) {
      const body = Buffer.from(bodies.body())
      const { prompt } = parseChat(body)
      // Another body has come meanwhile.
      if (i % 5 === 0) scanning.scanner.scan(Buffer.from('{"messages":[{"role":"user"}]}'))
      const sent = prompt?.kind === 'chat' ? prompt.sent?.() : undefined
      if (sent === undefined) continue
      const { bytes, isAscii, spans, start, end } = sent
      const messages = JSON.parse(body.toString()).messages as readonly unknown[]
      assert.deepEqual(JSON.parse(body.toString('utf8', start, end)), messages)
      assert.equal(bytes, body)
      assert.equal(spans.length, messages.length * 4)
      for (const [at, message] of messages.entries()) {
        const [from, to, hash, ascii] = spans.subarray(at * 4, at * 4 + 4) as unknown as number[]
        const json = body.toString('utf8', from, to)
        assert.deepEqual(JSON.parse(json), message)
        assert.equal(ascii === 1, /^[\0-\x7f]*$/.test(json), json)
        assert.ok(ascii === 1 || !isAscii)
        jsons.set(hash!, (jsons.get(hash!) ?? new Set()).add(json))
        count++
      }
    }
    assert.ok(count > 500, `${count} messages`)
    const largest = Math.max(...Array.from(jsons.values(), ({ size }) => size))
    assert.equal(largest, 1, 'different messages have the same hash')
  })

  it('cuts a text before a character that would not be whole', () => {
    const body = Buffer.from('{"model":"m","prompt":"abé中\\n🦙"}')
    const { prompt } = parseRequest(PATHS[1]!, [body], scanning)
    assert.ok(prompt?.kind === 'text')
    const masked = (text: string) => estimateTokens({ kind: 'text', texts: [text] })[0]
    for (const [limit, text] of [
      [100, 'abé中\n🦙'],
      [11, 'abé中\n'],
      [7, 'abé中'],
      [6, 'abé'],
      [3, 'ab'],
      [0, ''],
    ] as const) {
      assert.deepEqual(prompt.words!(limit), masked(text), `${limit} bytes`)
    }
  })

  it('reads bodies of many sizes, and leaves the largest to the parser', () => {
    for (const size of [0, 1, 15, 16, 17, 65_000, 3_000_000, 9_000_000]) {
      const content = 'x\\n"'.repeat(size / 4) + 'y'.repeat(size % 4)
      const body = Buffer.from(
        JSON.stringify({ messages: [{ role: 'user', content }], model: 'm' }),
      )
      assert.equal(scanning.scanner.scan(body) !== undefined, size < 8_000_000)
      assert.deepEqual(flat(PATHS[0]!, body, scanning), flat(PATHS[0]!, body, parsing))
    }
  })

  it('leaves to the parser what goes beyond the limits', () => {
    const limits = { maxJsonContainers: 5, maxJsonValues: 6, maxJsonDepth: 4 }
    const scanner = new BodyScanner(limits)
    const isRead = (json: string) => scanner.scan(Buffer.from(json)) !== undefined
    assert.ok(isRead('{"a":[[[1]]]}'))
    assert.ok(!isRead('{"a":[[[[1]]]]}'))
    assert.ok(isRead('{"a":[{},{},{}]}'))
    assert.ok(!isRead('{"a":[{},{},{},{}]}'))
    assert.ok(isRead('{"a":[1,2,3,4,5,6,7]}'))
    assert.ok(!isRead('{"a":[1,2,3,4,5,6,7,8]}'))
  })

  it('is compiled from the source that lies beside it', () => {
    const source = readFileSync(new URL('../../wasm/body-scan.ts', import.meta.url))
    const found = createHash('sha256').update(source).digest('hex')
    assert.equal(
      SOURCE_SHA256,
      found,
      'wasm/body-scan.ts has changed; npx tsx scripts/build-wasm.ts',
    )
  })
})
