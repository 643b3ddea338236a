import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import type { PromptTokens } from '../../src/framework/attributes.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { ChatPrompt } from '../../src/framework/request.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { startSimEngine } from '../../src/sim-engine.ts'
import { ConversationPrefixes } from '../../src/tokenize/conversation-prefixes.ts'
import { PromptTokenizer } from '../../src/tokenize/prompt-tokenizer.ts'
import { tokenizersDir } from './fixtures.ts'
import { clock, memoryLogger, memoryMetrics, memoryNotices, requestFor } from './services.ts'

const MODEL = 'Qwen3-32B'

const turns = (count: number, topic = 'a'): ChatPrompt => ({
  kind: 'chat',
  body: {
    temperature: 0.7,
    messages: Array.from({ length: count }, (_, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: `${topic} ${i} `.repeat(20),
    })),
  },
})
const numbers = (count: number, from = 0) => Int32Array.from({ length: count }, (_, i) => from + i)

describe('ConversationPrefixes', () => {
  /** Has seen a conversation and its continuation, which replaced so many ids. */
  const taught = (replaced: number) => {
    const prefixes = new ConversationPrefixes()
    prefixes.learn(MODEL, turns(1), numbers(100))
    prefixes.learn(MODEL, turns(3), Int32Array.of(...numbers(100 - replaced), -1, ...numbers(99)))
    return prefixes
  }

  it('believes nothing before a conversation was compared with its continuation', () => {
    const prefixes = new ConversationPrefixes()
    prefixes.learn(MODEL, turns(1), numbers(100))
    assert.equal(prefixes.find(MODEL, turns(3)), undefined)
  })

  it('knows the longest beginning, but for what a continuation may replace', () => {
    for (const [replaced, margin] of [
      [0, 16],
      [5, 16],
      [40, 40],
    ] as const) {
      const prefixes = taught(replaced)
      assert.deepEqual(prefixes.find(MODEL, turns(2))?.ids, numbers(100 - margin))
      const found = prefixes.find(MODEL, turns(6))!
      assert.equal(found.ids.length, 200 - replaced - margin)
      assert.deepEqual(found.rest, (turns(6).body.messages as unknown[]).slice(3))
    }
  })

  it('believes no model whose template rewrites what was said', () => {
    assert.equal(taught(65).find(MODEL, turns(5)), undefined)
  })

  it('tells models, other messages and other fields apart, and not what is only sampled', () => {
    const prefixes = taught(0)
    const next = turns(4)
    const having = (fields: object): ChatPrompt => ({
      kind: 'chat',
      body: { ...next.body, ...fields },
    })
    assert.equal(prefixes.find('other', next), undefined)
    assert.equal(prefixes.find(MODEL, turns(4, 'b')), undefined)
    assert.equal(prefixes.find(MODEL, having({ tools: [{ type: 'function' }] })), undefined)
    assert.equal(prefixes.find(MODEL, having({ chat_template: 'x' })), undefined)
    assert.equal(prefixes.find(MODEL, having({ something_new: true })), undefined)
    assert.notEqual(prefixes.find(MODEL, having({ temperature: 0, max_tokens: 5 })), undefined)
  })

  it('keeps nothing of what a parsed body does not tell in full', () => {
    const prefixes = taught(0)
    const tool = { kind: 'chat' as const, body: { messages: [{ role: 'user', content: 1 }] } }
    prefixes.learn(MODEL, tool, numbers(100))
    const more = { kind: 'chat' as const, body: { messages: [...tool.body.messages, {}] } }
    assert.equal(prefixes.find(MODEL, more), undefined)
  })
})

describe('PromptTokenizer, when an engine answers no more', function () {
  this.timeout(60_000)

  it('still knows the beginnings of conversations as the engine told them', async () => {
    const directory = tokenizersDir(MODEL)
    const flags = { port: '0', servedModelName: MODEL, tokenizersDir: directory }
    const engine = await startSimEngine(simEngineOptions(flags), memoryLogger())
    const make = (tokenizersDirectory?: string) =>
      new PromptTokenizer({
        tokenizersDir: tokenizersDirectory,
        models: { baseOf: () => undefined },
        clock,
        logger: memoryLogger(),
        metrics: memoryMetrics(),
        notices: memoryNotices(),
        budgetMs: 10_000,
      })
    const remote = make()
    const local = make(directory)
    const ask = async (tokenizer: PromptTokenizer, prompt: ChatPrompt): Promise<PromptTokens> =>
      tokenizer.tokenize(requestFor(MODEL, prompt), new Cancellation())
    try {
      remote.configure({
        folders: {},
        fallbackModel: undefined,
        engineUrl: `http://127.0.0.1:${engine.port}`,
      })
      for (const prompt of [turns(1), turns(3), turns(1, 'b')]) {
        assert.equal((await ask(remote, prompt)).exact, true)
      }
      await engine.close()
      for (const [prompt, atLeast] of [
        [turns(5), 0.5],
        [turns(3, 'b'), 0.25],
      ] as const) {
        const truth = (await ask(local, prompt)).prompts[0]!
        const { prompts, exact, exactUpTo, reason } = await ask(remote, prompt)
        assert.equal(exact, false)
        assert.match(reason!, /\/tokenize failed: ECONNREFUSED/)
        assert.ok(exactUpTo! > truth.length * atLeast, `${exactUpTo} of ${truth.length}`)
        assert.deepEqual(prompts[0]!.subarray(0, exactUpTo), truth.subarray(0, exactUpTo))
        assert.ok(prompts[0]!.length > exactUpTo!, 'what is new is estimated')
      }
      const { exactUpTo } = await ask(remote, turns(3, 'c'))
      assert.equal(exactUpTo, undefined, 'nothing is known of another conversation')
    } finally {
      await Promise.all([remote.close(), local.close(), engine.close()])
      rmSync(directory, { recursive: true })
    }
  })
})
