import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ChatTemplate } from '../../src/tokenize/chat/chat-template.ts'
import { encoderDoubts } from '../../src/tokenize/own-encoder.ts'
import { byteTokenizersDir } from './fixtures.ts'

describe('encoderDoubts', () => {
  let directory: string
  let folder: string
  beforeEach(() => {
    directory = byteTokenizersDir('m')
    folder = join(directory, 'm')
  })
  afterEach(() => rmSync(directory, { recursive: true }))
  const template = (text: string) => ChatTemplate.of(text, {})

  it('has none for a model with a template of its own', () => {
    writeFileSync(join(folder, 'config.json'), '{"model_type":"qwen3"}')
    assert.deepEqual(encoderDoubts(folder, template('x')), { text: undefined, chat: undefined })
  })

  for (const [type, text] of [
    ['gpt_oss', 'the engine writes chats of this model with the harmony encoder'],
    ['deepseek_v32', 'the engine writes chats of this model with an encoder of DeepSeek-V3.2'],
  ] as const) {
    it(`knows ${type} by its config.json`, () => {
      writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: type }))
      const { chat, text: ofText } = encoderDoubts(folder, undefined)
      assert.deepEqual([chat?.code, chat?.text, ofText], ['own-encoder', text, undefined])
    })
  }

  it('knows harmony by its template', () => {
    const harmony = template("{{ '<|start|>assistant<|channel|>final' }}")
    assert.match(encoderDoubts(folder, harmony).chat!.text, /harmony/)
  })

  for (const file of ['tekken.json', 'tokenizer.model.v3']) {
    it(`takes ${file} for Mistral's own tokenizer, of all prompts`, () => {
      writeFileSync(join(folder, file), '{}')
      const { chat, text } = encoderDoubts(folder, template('x'))
      assert.deepEqual([chat?.code, text?.code], ['own-encoder', 'own-encoder'])
    })
  }

  it('says which file it cannot read', () => {
    writeFileSync(join(folder, 'config.json'), '{')
    assert.throws(() => encoderDoubts(folder, undefined), SyntaxError)
  })
})
