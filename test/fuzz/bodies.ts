import assert from 'node:assert/strict'
import fc from 'fast-check'
import { SchedulerError } from '../../src/framework/errors.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'
import { assertPrototypeClean, type FuzzTarget, JSON_VALUES, KEYS, nearly } from './target.ts'

const PATHS = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/messages',
  '/v1/responses',
  '/v1/models',
]
const CHAT = {
  model: 'm',
  messages: [
    { role: 'system', content: [{ type: 'text', text: 'é' }] },
    { role: 'user', content: 'a "quoted" word \\ and \u0000' },
    { role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: '{"a": 1e3}' } }] },
  ],
  tools: [{ type: 'function', function: { name: 'f', parameters: { a: 1.0, '1': {} } } }],
  stream: true,
  cache_salt: 's',
  chat_template_kwargs: { enable_thinking: false },
}
const SAMPLES = [
  CHAT,
  { model: 'm', prompt: 'text', max_tokens: 1 },
  { model: 'm', prompt: [[1, 2], [3]], truncate_prompt_tokens: 1 },
  { model: 'm', system: 'be', messages: [{ role: 'user', content: 'x' }], max_tokens: 1 },
  { model: 'm', input: [{ role: 'user', content: [{ type: 'input_text', text: 'x' }] }] },
].map((body) => Buffer.from(JSON.stringify(body)))

const FIELDS = fc.dictionary(
  fc.oneof(KEYS, fc.constantFrom('model', 'messages', 'prompt', 'input', 'tools', 'stream')),
  JSON_VALUES,
  { maxKeys: 8 },
)
const LISTS = fc.dictionary(fc.constantFrom('role', 'content', 'tool_calls', 'name'), JSON_VALUES)

interface Input {
  readonly path: string
  readonly body: Buffer
  readonly cut: number
}

/** A request's body is read or refused, never anything else; and naming another model changes nothing besides. */
export const bodies: FuzzTarget = {
  name: 'bodies',
  inputs: fc.record({
    path: fc.constantFrom(...PATHS),
    body: fc.oneof(
      nearly(SAMPLES),
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(FIELDS, fc.array(LISTS, { maxLength: 3 }))
        .map(([fields, messages]) =>
          Buffer.from(JSON.stringify({ model: 'm', messages, ...fields })),
        ),
    ),
    cut: fc.nat(),
  }),
  check({ path, body, cut }: Input) {
    const at = body.length === 0 ? 0 : cut % body.length
    const pieces = [body.subarray(0, at), body.subarray(at)]
    const whole = readOrRefusal(path, [body])
    const cutUp = readOrRefusal(path, pieces)
    assertPrototypeClean()
    if (whole instanceof SchedulerError || cutUp instanceof SchedulerError) {
      assert.equal((cutUp as SchedulerError).message, (whole as SchedulerError).message)
      return
    }
    assert.deepEqual([cutUp.model, cutUp.stream], [whole.model, whole.stream])
    if (whole.model === '') return
    const renamed = Buffer.concat(openAiApi.rewriteModel(pieces, 'another "name"'))
    const { model, ...rest } = JSON.parse(renamed.toString()) as Record<string, unknown>
    const { model: _, ...before } = JSON.parse(textOf(body)) as Record<string, unknown>
    assert.equal(model, 'another "name"')
    assert.deepEqual(rest, before)
  },
}

function textOf(body: Buffer): string {
  const text = body.toString()
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text
}

function readOrRefusal(path: string, body: readonly Buffer[]) {
  try {
    return openAiApi.parse(path, new Map(), body)
  } catch (error) {
    assert.ok(error instanceof SchedulerError, `threw ${error}`)
    assert.equal(error.code, 'BAD_REQUEST')
    return error
  }
}
