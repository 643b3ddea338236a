import assert from 'node:assert/strict'
import type { ChatApi, ChatPrompt } from '../../../src/framework/request.ts'
import { ChatTemplate } from '../../../src/tokenize/chat/chat-template.ts'
import { ALL_RULES, rulesOf } from '../../../src/tokenize/chat/engine-rules.ts'
import { type RenderedChat, renderChat } from '../../../src/tokenize/chat/render-chat.ts'
import { Unrenderable } from '../../../src/tokenize/chat/unrenderable.ts'

const TEMPLATE =
  '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}'
const HELLO = { messages: [{ role: 'user', content: 'hello' }] }

/** @param json the body as text, which tells numbers and the order of keys */
function prompt(json: string | object, api?: ChatApi): ChatPrompt {
  const text = typeof json === 'string' ? json : JSON.stringify(json)
  return { kind: 'chat', body: JSON.parse(text), text: () => text, ...(api && { api }) }
}

function render(
  template: string,
  json: string | object,
  release?: string,
  api?: ChatApi,
): RenderedChat | Unrenderable {
  return renderChat(
    ChatTemplate.of(template, { bos_token: '<s>' }),
    prompt(json, api),
    rulesOf(release),
  )
}

function textOf(
  template: string,
  json: string | object,
  release = '0.32.0',
  api?: ChatApi,
): string {
  const chat = render(template, json, release, api)
  assert.ok(!(chat instanceof Unrenderable), chat instanceof Unrenderable ? chat.doubt.text : '')
  assert.equal(chat.doubt, undefined)
  return chat.text
}

function reasonOf(template: string, json: string | object, release?: string, api?: ChatApi) {
  return render(template, json, release, api).doubt?.code
}

describe('renderChat', () => {
  it('renders a plain chat once for all releases', () => {
    assert.equal(reasonOf(TEMPLATE, HELLO), undefined)
    let renderings = 0
    const template = ChatTemplate.of(TEMPLATE, {})
    const counted = new Proxy(template, {
      get: (target, key) => {
        if (key === 'render') renderings++
        const value = Reflect.get(target, key)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    renderChat(counted, prompt(HELLO), ALL_RULES)
    assert.equal(renderings, 1)
  })

  it('is not exact where the releases that engines may be differ, and exact where one is known', () => {
    const body = { messages: [{ role: 'developer', content: 'x' }] }
    assert.equal(reasonOf(TEMPLATE, body), 'engine-version')
    assert.equal(textOf(TEMPLATE, body, '0.32.0'), '<system>x<a>')
    assert.equal(textOf(TEMPLATE, body, '0.10.0'), '<developer>x<a>')
    // Both neighbours of the release rename it.
    assert.equal(textOf(TEMPLATE, body, '0.25.0'), '<system>x<a>')
    assert.equal(reasonOf(TEMPLATE, body, '0.22.3'), 'engine-version')
  })

  it('is exact for all releases where what differs is not printed', () => {
    const body = { messages: [{ role: 'assistant', content: 'x', reasoning: 'r' }] }
    assert.equal(reasonOf(TEMPLATE, body), undefined)
    assert.equal(reasonOf(`${TEMPLATE}{{ messages[0].reasoning }}`, body), 'engine-version')
  })

  it('does not count releases that refuse the request', () => {
    const call = { id: 'i', type: 'function', function: { name: 'f', arguments: '{bad' } }
    const body = { messages: [{ role: 'assistant', tool_calls: [call] }] }
    const template = '{{ messages[0].tool_calls[0].function.arguments }}'
    assert.equal(reasonOf(template, body), undefined)
    assert.equal(textOf(template, body, '0.32.0'), '{}')
    assert.equal(reasonOf(template, body, '0.24.0'), 'bad-messages')
  })

  describe('template arguments', () => {
    const kwargs = (more: object, own: object = {}) => ({
      ...HELLO,
      chat_template_kwargs: more,
      ...own,
    })
    const flag = '{{ add_generation_prompt }}'
    const effort = '{{ reasoning_effort }},{{ enable_thinking }}'
    const defined = '{{ reasoning_effort is defined }}'
    for (const [name, template, body, oldest, newest] of [
      ['reach the template', '{{ a.b }}', kwargs({ a: { b: 'c' } }), 'c', 'c'],
      [
        'replace own fields or not',
        flag,
        kwargs({ add_generation_prompt: false }),
        'False',
        'True',
      ],
      ['give tools, or replace them', '{{ tools }}', kwargs({ tools: 'x' }), 'x', 'x'],
      ['that are null', '{{ a is defined }}', kwargs({ a: null }), 'True', 'False'],
      ['that are "auto"', '{{ a is defined }}', kwargs({ a: 'auto' }), 'True', 'False'],
      ['of reasoning_effort', effort, { ...HELLO, reasoning_effort: 'low' }, ',', 'low,True'],
      ['of no reasoning', effort, { ...HELLO, reasoning_effort: 'none' }, ',', 'none,False'],
      [
        'of thinking beside an effort',
        effort,
        kwargs({ enable_thinking: false }, { reasoning_effort: 'low' }),
        ',False',
        'low,False',
      ],
      ['that are absent', defined, HELLO, 'False', 'False'],
      ['for documents', '{{ documents }}', { ...HELLO, documents: [] }, '[]', '[]'],
      [
        'for absent tools',
        '{{ tools is none }} {{ documents is none }}',
        HELLO,
        'True True',
        'True True',
      ],
    ] as const) {
      it(`${name}: 0.10.0 and 0.32.0`, () => {
        assert.deepEqual(
          [textOf(template, body, '0.10.0'), textOf(template, body, '0.32.0')],
          [oldest, newest],
        )
      })
    }

    it('know an effort that is always there in between', () => {
      assert.equal(textOf(defined, HELLO, '0.14.1'), 'True')
      const body = kwargs({ reasoning_effort: 'high' })
      assert.equal(textOf('{{ reasoning_effort }}', body, '0.14.1'), 'None')
      assert.equal(textOf('{{ reasoning_effort }}', body, '0.32.0'), 'high')
    })

    it('that are the rendering’s own are not followed', () => {
      assert.equal(reasonOf(TEMPLATE, kwargs({ padding: true }), '0.32.0'), 'template-kwargs')
      assert.equal(reasonOf(TEMPLATE, kwargs({ chat_template: 'x' }), '0.32.0'), 'own-template')
    })

    it('with a prototype’s name leave it alone', () => {
      const body = `{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"__proto__":{"a":1},"b":2}}`
      assert.equal(textOf('{{ b }}{{ a }}', body), '2')
    })
  })

  describe('tools', () => {
    const tool = (more: object, outer: object = {}) => ({
      ...HELLO,
      tools: [{ ...outer, function: { name: 'f', ...more }, type: 'function' }],
    })
    const print = '{{ tools | tojson }}'
    const bare = '"name": "f", "description": null, "parameters": null'
    for (const [name, body, release, printed] of [
      ['get their defaults', tool({}), '0.32.0', `{"type": "function", "function": {${bare}}}`],
      [
        'keep unknown fields in old releases',
        tool({ strict: null, z: 1 }, { y: 2 }),
        '0.10.0',
        `{"type": "function", "function": {${bare}, "strict": null, "z": 1}, "y": 2}`,
      ],
      [
        'have strict as a field between',
        tool({ z: 1, strict: true }),
        '0.24.0',
        `{"type": "function", "function": {${bare}, "strict": true, "z": 1}}`,
      ],
      [
        'lose unknown fields in new ones',
        tool({ z: 1, strict: false }, { y: 2 }),
        '0.32.0',
        `{"type": "function", "function": {${bare}, "strict": false}}`,
      ],
      [
        'hand down that they are deferred',
        tool({}, { defer_loading: true }),
        '0.21.0',
        `{"type": "function", "function": {${bare}, "defer_loading": true}, "defer_loading": true}`,
      ],
    ] as const) {
      it(`${name} (${release})`, () => {
        assert.equal(textOf(print, body, release), `[${printed}]`)
      })
    }

    it('print numbers and keys as they were sent', () => {
      const body = `{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","description":"","parameters":{"b":1.0,"1":[1e3,-0,1e-7,123456789012345678901]}}}]}`
      assert.match(
        textOf(print, body),
        /\{"b": 1\.0, "1": \[1000\.0, 0, 1e-07, 123456789012345678901\]\}/,
      )
    })
  })

  it('orders the fields of tool calls as the engine’s types do', () => {
    const call = { type: 'function', function: { name: 'f', arguments: '{"n":1.0}' }, id: 'i' }
    const body = { messages: [{ role: 'assistant', content: null, tool_calls: [call] }] }
    assert.equal(
      textOf('{{ messages[0].tool_calls | tojson }}', body),
      '[{"id": "i", "function": {"arguments": {"n": 1.0}, "name": "f"}, "type": "function"}]',
    )
  })

  describe('with media', () => {
    const image = { type: 'image_url', image_url: { url: 'https://a/b.png' } }
    const body = {
      messages: [
        { role: 'system', content: 'sys' },
        {
          role: 'user',
          content: [{ type: 'text', text: 'look:' }, image, { type: 'text', text: 'ok' }],
        },
      ],
    }
    const parts =
      "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{% if p.type == 'image' %}[IMG]{% else %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}"

    it('tells where the first one stands in a template that wants parts', () => {
      const chat = render(parts, body, '0.32.0') as RenderedChat
      assert.equal(chat.doubt?.code, 'media')
      assert.equal(chat.text, '<system>sys<user>look:[IMG]ok')
      assert.ok(chat.marked?.startsWith('<system>sys<user>look:\uFDD0'), chat.marked)
    })

    it('takes the start of the message where the template wants text', () => {
      const chat = render(TEMPLATE, body, '0.32.0') as RenderedChat
      assert.equal(chat.text, '<system>sys<user>look:\nok<a>')
      assert.ok(chat.marked?.startsWith('<system>sys<user>\uFDD0'), chat.marked)
    })

    it('begins earlier where the template does', () => {
      const early = `{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}!{% endif %}{% endfor %}{% endfor %}${parts}`
      const chat = render(early, body, '0.32.0') as RenderedChat
      assert.notEqual(chat.text[0], chat.marked?.[0])
    })
  })

  describe('the final message', () => {
    const ending = (content: unknown, more: object = {}) => ({
      messages: [{ role: 'assistant', content }],
      continue_final_message: true,
      add_generation_prompt: false,
      ...more,
    })
    for (const [content, text] of [
      ['abc', '<assistant>abc'],
      ['abc ', '<assistant>abc '],
      [[{ type: 'text', text: 'a' }], '<assistant>a'],
    ] as const) {
      it(`is continued after ${JSON.stringify(content)}`, () => {
        const template = '{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}'
        assert.equal(textOf(template, ending(content)), text)
      })
    }

    it('is continued at another place by other releases where it is empty, or its text comes again', () => {
      const template = '{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}'
      for (const [content, text] of [
        ['', '<assistant>'],
        ['s', '<assistant>s'],
      ] as const) {
        const chat = render(template, ending(content), '0.32.0') as RenderedChat
        assert.deepEqual([chat.text, chat.doubt?.code], [text, 'continued-message'])
      }
    })

    it('cannot be continued and answered at once', () => {
      assert.equal(reasonOf(TEMPLATE, ending('x', { add_generation_prompt: true })), 'bad-messages')
    })

    it('is asked for in any of the ways in which the engine takes it', () => {
      const body = ending('x', { continue_final_message: 'yes', add_generation_prompt: 0 })
      assert.equal(textOf(TEMPLATE, body), '<assistant>x')
    })
  })

  describe('of other APIs', () => {
    it('renders Anthropic’s messages', () => {
      const body = {
        system: [{ type: 'text', text: 'be brief', cache_control: { type: 'ephemeral' } }],
        messages: [
          { role: 'user', content: 'hi' },
          {
            role: 'assistant',
            content: [{ type: 'tool_use', id: 't', name: 'f', input: { a: 1 } }],
          },
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't', content: '42' }] },
        ],
        max_tokens: 5,
      }
      assert.equal(
        textOf(TEMPLATE, body, '0.32.0', 'messages'),
        '<system>be brief<user>hi<assistant><tool>42<a>',
      )
      assert.equal(reasonOf(TEMPLATE, body, undefined, 'messages'), 'engine-version')
    })

    it('puts late system messages where the template takes them', () => {
      const body = {
        messages: [
          { role: 'user', content: 'a' },
          { role: 'system', content: 'late' },
        ],
      }
      const strict = `{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('no') }}{% endif %}{% endfor %}${TEMPLATE}`
      assert.equal(textOf(TEMPLATE, body, '0.32.0', 'messages'), '<user>a<system>late<a>')
      assert.equal(textOf(strict, body, '0.32.0', 'messages'), '<system>late<user>a<a>')
    })

    it('finds the effort that stands for no thinking', () => {
      const body = { ...HELLO, thinking: { type: 'disabled' } }
      const knows = "{{ 'off' if reasoning_effort == 'none' else reasoning_effort }}"
      assert.equal(textOf(knows, body, '0.32.0', 'messages'), 'off')
      const ignores = "{{ 'low' if reasoning_effort == 'low' else 'high' }}"
      assert.equal(textOf(ignores, body, '0.32.0', 'messages'), 'low')
    })

    it('renders responses that carry their whole conversation', () => {
      const body = { instructions: 'i', input: 'hi', reasoning: { effort: 'low' } }
      assert.equal(
        textOf(`${TEMPLATE}{{ reasoning_effort }}`, body, '0.32.0', 'responses'),
        '<system>i<user>hi<a>low',
      )
      const chat = render(TEMPLATE, body, '0.32.0', 'responses') as RenderedChat
      assert.equal(chat.encoding.addSpecialTokens, true)
      const older = render(TEMPLATE, body, '0.15.1', 'responses') as RenderedChat
      assert.equal(older.encoding.addSpecialTokens, false)
    })

    for (const [name, body, code] of [
      ['continues a stored response', { input: 'x', previous_response_id: 'r' }, 'stored-response'],
      [
        'has tools of the server',
        { input: 'x', tools: [{ type: 'web_search' }] },
        'responses-tools',
      ],
      ['has an unknown item', { input: [{ type: 'computer_call' }] }, 'responses-items'],
    ] as const) {
      it(`says that a response ${name}`, () => {
        assert.equal(reasonOf(TEMPLATE, body, '0.32.0', 'responses'), code)
      })
    }
  })
})
