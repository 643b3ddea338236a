import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import type { PromptTokens } from '../../../src/framework/attributes.ts'
import { Cancellation } from '../../../src/framework/cancellation.ts'
import { PromptTokenizer } from '../../../src/tokenize/prompt-tokenizer.ts'
import { byteTokenizersDir } from '../fixtures.ts'
import { clock, memoryLogger, memoryMetrics, memoryNotices, requestFor } from '../services.ts'

const MODEL = 'm'

describe('a chat template that a request brings', () => {
  const directory = byteTokenizersDir(MODEL)
  const tokenizer = new PromptTokenizer({
    tokenizersDir: directory,
    models: { baseOf: () => undefined },
    clock,
    logger: memoryLogger(),
    metrics: memoryMetrics(),
    notices: memoryNotices(),
    // A thread starts slowly from its source.
    budgetMs: 60_000,
  })
  after(async () => {
    await tokenizer.close()
    rmSync(directory, { recursive: true })
  })

  const trust = (trustRequestChatTemplate: boolean) =>
    tokenizer.configure({
      folders: {},
      fallbackModel: undefined,
      engineUrl: undefined,
      trustRequestChatTemplate,
    })
  const ask = async (chat_template: unknown, more: object = {}): Promise<PromptTokens> => {
    const body = { messages: [{ role: 'user', content: 'hi' }], chat_template, ...more }
    const text = JSON.stringify(body)
    return tokenizer.tokenize(
      requestFor(MODEL, { kind: 'chat', body, text: () => text }),
      new Cancellation(),
    )
  }
  /** The time for one rendering is short for a machine that does other things: the answer is waited for. */
  const eventually = async (
    wanted: PromptTokens,
    template: string,
    more: object = {},
  ): Promise<void> => {
    const deadlineMs = clock.nowMs() + 20_000
    let tokens = await ask(template, more)
    while (!tokens.exact && clock.nowMs() < deadlineMs) tokens = await ask(template, more)
    assert.deepEqual(tokens, wanted)
  }
  const bytes = (text: string) => ({ prompts: [Int32Array.from(Buffer.from(text))], exact: true })

  it('is not rendered unless the configuration trusts it', async () => {
    trust(false)
    const { exact, reason } = await ask('{{ messages[0].content }}')
    assert.equal(exact, false)
    assert.match(reason!, /brings its own chat template/)
  })

  describe('that is trusted', () => {
    before(function () {
      this.timeout(60_000)
      trust(true)
    })

    it('is rendered in the place of the model’s', async function () {
      this.timeout(60_000)
      await eventually(
        bytes(
          '[hi[{"type": "function", "function": {"name": "f", "description": null, "parameters": {"n": 1}}}]]',
        ),
        '[{{ messages[0].content }}{{ tools | tojson }}]',
        { tools: [{ type: 'function', function: { name: 'f', parameters: { n: 1 } } }] },
      )
    })

    for (const [name, template] of [
      ['loops for ever', '{% for i in range(10**9) %}{% endfor %}'],
      [
        'loops for ever in small steps',
        '{% for a in range(90000) %}{% for b in range(90000) %}{% for c in range(90000) %}{% endfor %}{% endfor %}{% endfor %}',
      ],
      ['writes gigabytes', `{% for i in range(90000) %}{{ '${'x'.repeat(50_000)}' }}{% endfor %}`],
      [
        'doubles its text',
        `{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}`,
      ],
      ['calls itself', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
      ['does not parse', '{% for %}'],
      ['raises', "{{ raise_exception('secret') }}"],
    ] as const) {
      it(`that ${name} gets an estimate in time, and the next request its ids`, async function () {
        this.timeout(60_000)
        const { exact, reason } = await ask(template)
        assert.equal(exact, false)
        assert.doesNotMatch(reason!, /secret/)
        await eventually(bytes('<hi>'), '<{{ messages[0].content }}>')
      })
    }

    it('does not hold up requests without one', async function () {
      this.timeout(60_000)
      const slow = ask(
        '{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}',
      )
      const startMs = clock.nowMs()
      const plain = await ask(undefined)
      const tookMs = clock.nowMs() - startMs
      assert.equal(plain.exact, true)
      console.log(`      ${tookMs.toFixed(1)} ms beside a template that loops (limit 20)`)
      assert.ok(tookMs < 200)
      assert.equal((await slow).exact, false)
    })

    it('answers those that wait while the thread is replaced', async function () {
      this.timeout(60_000)
      const loop = '{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}'
      const [first, , third] = await Promise.all([
        ask(loop),
        eventually(bytes('a1'), 'a{{ 1 }}'),
        ask(loop),
        eventually(bytes('b2'), 'b{{ 2 }}'),
      ])
      assert.deepEqual([first.exact, third.exact], [false, false])
    })

    it('refuses more than can wait', async function () {
      this.timeout(60_000)
      const answers = await Promise.all(Array.from({ length: 100 }, () => ask('x{{ 1 }}')))
      const refused = answers.filter(({ exact }) => !exact)
      assert.ok(refused.length > 0 && refused.length < 100, String(refused.length))
      assert.match(refused[0]!.reason!, /too many requests with chat templates of their own wait/)
    })
  })
})
