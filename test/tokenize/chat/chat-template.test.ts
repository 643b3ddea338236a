import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ChatTemplate } from '../../../src/tokenize/chat/chat-template.ts'
import { NEWEST_RULES } from '../../../src/tokenize/chat/engine-rules.ts'
import { renderChat } from '../../../src/tokenize/chat/render-chat.ts'

describe('ChatTemplate', () => {
  const folder = mkdtempSync(join(tmpdir(), 'template-'))
  after(() => rmSync(folder, { recursive: true }))

  const of = (config: Record<string, unknown>): ChatTemplate => ChatTemplate.read(folder, config)!
  const text = (template: ChatTemplate, body: Record<string, unknown>): unknown =>
    (renderChat(template, { kind: 'chat', body }, [NEWEST_RULES]) as { text?: string }).text

  it('joins parts of text by line ends, or hands them on where the template wants parts', () => {
    const body = { messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, 'b'] }] }
    assert.equal(text(of({ chat_template: '{{ messages[0].content }}' }), body), 'a\nb')
    const parts = of({
      chat_template:
        '{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}',
    })
    assert.equal(text(parts, body), '[a][b]')
    assert.equal(text(parts, { messages: [{ role: 'user', content: 'c' }] }), '[c]')
  })

  it('knows the special tokens of the model', () => {
    const template = of({
      chat_template: '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}',
      bos_token: '<s>',
      eos_token: { content: '</s>' },
    })
    assert.equal(text(template, { messages: [{ role: 'user', content: 'x' }] }), '<s>x</s>')
  })

  it('takes the template for tools when there is one and the request has tools', () => {
    const template = of({
      chat_template: [
        { name: 'default', template: 'plain' },
        { name: 'tool_use', template: 'with tools' },
      ],
    })
    const messages = [{ role: 'user', content: 'x' }]
    assert.equal(text(template, { messages }), 'plain')
    const tools = [{ type: 'function', function: { name: 'f' } }]
    assert.equal(text(template, { messages, tools }), 'with tools')
  })

  it('is not sure of a template that writes the date', () => {
    const template = of({ chat_template: "{{ strftime_now('%Y') }}" })
    const body = { messages: [{ role: 'user', content: 'x' }] }
    const chat = renderChat(template, { kind: 'chat', body }, [NEWEST_RULES])
    assert.ok('doubt' in chat)
    assert.equal(chat.doubt?.code, 'template-date')
  })

  it('cuts what follows the final message when that is to be continued', () => {
    const template = of({ chat_template: '{% for m in messages %}<{{ m.content }}>{% endfor %}' })
    const messages = [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: 'half an ' },
    ]
    assert.equal(text(template, { messages, continue_final_message: true }), '<q><half an ')
  })

  it('prefers chat_template.jinja', () => {
    writeFileSync(join(folder, 'chat_template.jinja'), 'from the file\n')
    assert.equal(
      text(of({ chat_template: 'config' }), { messages: [{ role: 'user' }] }),
      'from the file',
    )
    rmSync(join(folder, 'chat_template.jinja'))
  })

  it('is absent when the model has none', () => {
    assert.equal(ChatTemplate.read(folder, {}), undefined)
  })
})
