import assert from 'node:assert/strict'
import { JinjaTemplate } from '../../../src/tokenize/jinja/jinja-template.ts'
import { PyFloat, TemplateError } from '../../../src/tokenize/jinja/values.ts'

describe('JinjaTemplate', () => {
  const render = (text: string, variables: Record<string, unknown> = {}): string =>
    new JinjaTemplate(text).render(variables)

  for (const [text, expected] of [
    ["{{ '  a\\n'.strip('\\n') }}|", '  a|'],
    ['{{ none }} {{ true }} {{ 1.0 }} {{ [1, none, "a"] }}', "None True 1.0 [1, None, 'a']"],
    ['{{ {"a": [true]} }}', "{'a': [True]}"],
    ['{% for i in [1, 2] %}{{ x }}{% set x = i %}{% endfor %}', ''],
    ['{% for i in [1, 2] %}a{% if i == 1 %}{% continue %}{% endif %}b{% endfor %}', 'aab'],
    ['{{ undefined_one == none }}{{ 0 == "" }}{{ [1] == [1] }}', 'FalseFalseTrue'],
    ['{{ -7 % 3 }} {{ -7 // 2 }} {{ 7 / 2 }}', '2 -4 3.5'],
    ["{{ 'äÖ'|length }} {{ '👩'|length }} {{ '👩b'[1] }}", '2 1 b'],
    ["{{ {'b': 1, 'A': 2}|tojson(sort_keys=true) }}", '{"A": 2, "b": 1}'],
    ["{{ [1, 2]|tojson(indent=1) }}{{ 'é'|tojson }}", '[\n 1,\n 2\n]"é"'],
    ["{{ '<'|safe + '<' }}", '<&lt;'],
    ["{{ {'items': 3}.items()|list|length }}{{ {'items': 3}['items'] }}", '13'],
    ['{% generation %}a{% set x = 1 %}{% endgeneration %}{{ x }}', 'a'],
  ] as const) {
    it(`prints ${JSON.stringify(expected)} for ${text}`, () => {
      assert.equal(render(text), expected)
    })
  }

  it('gives texts of the variables as parts, and the short ones between them together', () => {
    const words = 'word '.repeat(20)
    const template = new JinjaTemplate(
      "{% macro m(t) %}{{ t }}{% endmacro %}{% for m in messages %}{{ '<' + m.role + '>' + m.text ~ '</' }}{{ '' }}>{% endfor %}{{ m(messages[0].text) }}",
    )
    const messages = [
      { role: 'a', text: words },
      { role: 'b', text: 'short' },
    ]
    assert.deepEqual(template.renderParts({ messages }), [
      ...['<a>', words, '</><b>short</>', words],
    ])
    assert.deepEqual(template.renderParts({}, { messages }), template.renderParts({ messages }))
  })

  it('keeps floats, large numbers and the order of keys', () => {
    const variables = {
      v: new Map<string, unknown>([
        ['b', new PyFloat(1)],
        ['1', 12345678901234567890n],
      ]),
    }
    assert.equal(render('{{ v|tojson }}', variables), '{"b": 1.0, "1": 12345678901234567890}')
  })

  for (const [why, text] of [
    ['raises', "{{ raise_exception('no') }}"],
    ['reads what is not defined', '{{ a.b }}'],
    ['adds a number to a text', "{{ 'a' + 1 }}"],
    ['loops over a range that is too long', '{% for i in range(10**9) %}x{% endfor %}'],
    ['repeats a text too often', "{{ 'a' * 10**9 }}"],
    ['reaches for the inside of objects', "{{ ''.constructor.constructor('return 1')() }}"],
    ['calls itself without end', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
    [
      'doubles a text without end',
      "{% set ns = namespace(a='aaaaaaaa') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
    ],
  ] as const) {
    it(`refuses a template that ${why}`, () => {
      assert.throws(() => render(text), TemplateError)
    })
  }

  it('stops a template that takes too many steps or writes too much', () => {
    const loop = '{% for i in range(1000) %}{% for j in range(1000) %}xxxx{% endfor %}{% endfor %}'
    const limited = (steps: number, outputChars: number): (() => string) => {
      return () => new JinjaTemplate(loop, { steps, outputChars }).render({})
    }
    assert.throws(limited(10_000, 1e9), /too many steps/)
    assert.throws(limited(1e9, 10_000), /too long/)
  })

  for (const text of ['{{ 1 < 2 < 3 }}', '{{ kwargs }}', 'a\ufeff', '{% include "a" %}']) {
    it(`does not load ${JSON.stringify(text)}, which it would misread`, () => {
      assert.throws(() => new JinjaTemplate(text))
    })
  }

  it('does not take a key for more than a key', () => {
    const variables = { v: JSON.parse('{"__proto__": {"a": 1}, "constructor": 2}') }
    assert.equal(
      render('{{ v.__proto__.a }}{{ v.constructor }}{{ w is defined }}', variables),
      '12False',
    )
    assert.equal(({} as { a?: number }).a, undefined)
  })
})
