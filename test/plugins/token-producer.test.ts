import assert from 'node:assert/strict'
import { PROMPT_TOKENS, type PromptTokens } from '../../src/framework/attributes.ts'
import { Type } from '../../src/framework/index.ts'
import { definePlugin } from '../../src/framework/plugin.ts'
import type { Prompt } from '../../src/framework/request.ts'
import { TOKENIZER } from '../../src/framework/services.ts'
import { tokenProducer } from '../../src/plugins/producers/token-producer.ts'
import { setUp } from '../framework/routing/director-setup.ts'

const needsTokens = definePlugin({
  kind: 'scorer',
  type: 'needs-tokens',
  description: 'Asks for token ids, and for answers to be watched.',
  params: Type.Object({}),
  needs: [PROMPT_TOKENS],
  watchesResponses: true,
  create: () => ({ score: (_request, endpoints) => new Float64Array(endpoints.length) }),
})

/** What the tokenizer is told of an answer to a prompt that became `tokens` and that the engine counted as `usage` says. */
async function told(prompt: Prompt, tokens: PromptTokens, promptTokens: number | undefined) {
  const counts: unknown[] = []
  const tokenizer = {
    tokenize: () => tokens,
    decode: () => undefined,
    configure() {},
    counted: (...count: unknown[]) => counts.push(count),
  }
  const usage = promptTokens !== undefined && {
    ...{ promptTokens, completionTokens: 1, cachedTokens: undefined },
  }
  const { route, director } = setUp({
    plugins: [tokenProducer, needsTokens],
    services: (container) => container.provide(TOKENIZER, {}, () => tokenizer),
    parsed: { prompt },
    ...(usage && { usage }),
  })
  const routed = await route()
  routed.responseBody(Buffer.from('{}'))
  routed.end('completed')
  director[Symbol.dispose]()
  return counts
}

const text: Prompt = { kind: 'text', texts: ['a', 'b'] }
const prompts = [Int32Array.of(1, 2, 3), Int32Array.of(4)]

describe('token-producer', () => {
  it('tells the tokenizer how many exact ids there were of all prompts, and how many the engine counted', async () => {
    assert.deepEqual(await told(text, { prompts, exact: true }, 5), [['m', 4, 5]])
    assert.deepEqual(await told(text, { prompts, exact: true }, 4), [['m', 4, 4]])
  })

  it('tells nothing of guesses, of ids that the client sent, and where the engine says nothing', async () => {
    assert.deepEqual(await told(text, { prompts, exact: false, reason: 'a guess' }, 5), [])
    assert.deepEqual(await told({ kind: 'tokens', prompts }, { prompts, exact: true }, 5), [])
    assert.deepEqual(await told(text, { prompts, exact: true }, undefined), [])
  })
})
