import assert from 'node:assert/strict'
import { openAiApi } from '../../src/openai/openai-api.ts'
import { estimateTokens } from '../../src/tokenize/estimate.ts'

/** The text that the estimate of a request reads. */
function estimated(path: string, body: object): string {
  const { prompt } = openAiApi.parse(path, new Map(), [Buffer.from(JSON.stringify(body))])
  const [ids] = estimateTokens(prompt!)
  return Buffer.from(ids!.buffer, ids!.byteOffset, ids!.byteLength)
    .toString('utf8')
    .replace(/\0+$/, '')
}

describe('the estimate of a prompt', () => {
  const messages = [
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: [{ type: 'text', text: 'Yes?' }] },
  ]

  it('reads the messages of a chat', () => {
    const text = estimated('/v1/chat/completions', { model: 'm', messages })
    assert.equal(text, 'user\nHi\nassistant\nYes?')
  })

  it('reads the system message that Anthropic’s API has beside the others, before them', () => {
    for (const system of ['Be kind', [{ type: 'text', text: 'Be kind' }]]) {
      const text = estimated('/v1/messages', { model: 'm', max_tokens: 1, messages, system })
      assert.equal(text, 'system\nBe kind\nuser\nHi\nassistant\nYes?')
    }
    assert.equal(
      estimated('/v1/messages', { model: 'm', max_tokens: 1, messages }),
      'user\nHi\nassistant\nYes?',
    )
  })

  it('reads instructions and input of the API of responses', () => {
    const instructions = 'Be kind'
    assert.equal(
      estimated('/v1/responses', { model: 'm', instructions, input: 'Hi' }),
      'system\nBe kind\nuser\nHi',
    )
    const call = { type: 'function_call', name: 'f', arguments: '{}' }
    const output = { type: 'function_call_output', call_id: 'c', output: '3' }
    assert.equal(
      estimated('/v1/responses', { model: 'm', input: [...messages, call, output] }),
      `user\nHi\nassistant\nYes?\n${JSON.stringify(call)}\n${JSON.stringify(output)}`,
    )
  })
})
