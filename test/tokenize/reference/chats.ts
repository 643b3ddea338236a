import fc from 'fast-check'

/** Pieces that texts are made of: scripts, white space of every kind, what templates look for, what is easily misread. */
const PIECES = [
  ...[
    'Hello',
    'wörld',
    '你好',
    'שלום',
    'مرحبا',
    'नमस्ते',
    'ǅ',
    'ß',
    'İ',
    'Σς',
    '👩‍👩‍👧',
    '🇫🇷',
    'e\u0301',
  ],
  ...[
    ' ',
    '  ',
    '\n',
    '\n\n',
    '\t',
    '\r\n',
    '\u00a0',
    '\u0085',
    '\u001f',
    '\u2028',
    '\ufeff',
    '\u3000',
    '\u0000',
  ],
  ...[
    '<think>',
    '</think>',
    '<tool_response>',
    '<|im_end|>',
    '[INST]',
    '{{',
    '}}',
    '{%',
    '\\',
    '"',
    "'",
    '`',
    '<b>&amp;',
  ],
  ...[
    'None',
    'True',
    '1.0',
    '-0',
    '٣',
    '\u007f',
    '\u200b',
    '\u{10ffff}',
    'https://a.b/c?d=e',
    'assistant',
    'tools',
  ],
]

const text = fc.array(fc.constantFrom(...PIECES), { maxLength: 8 }).map((pieces) => pieces.join(''))
const word = fc.constantFrom(
  'a',
  'city',
  'größe',
  'items',
  'keys',
  'get',
  'type',
  '1',
  '10',
  '2',
  'x y',
)

const number = fc.oneof(
  fc.integer(),
  fc.constantFrom('1.0', '1e3', '1e-7', '-0.0', '12345678901234567890', '0.1', '1e22', '2.50'),
)

/** JSON as text, so that numbers are written in every way. */
const json: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.oneof(
      text.map((one) => JSON.stringify(one)),
      number.map(String),
      fc.constantFrom('true', 'false', 'null'),
    ),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => `[${items.join(', ')}]`),
    object(tie('value')),
  ),
})).value

function object(value: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .uniqueArray(fc.tuple(word, value), { maxLength: 4, selector: ([key]) => key })
    .map((pairs) => `{${pairs.map(([key, one]) => `${JSON.stringify(key)}: ${one}`).join(',')}}`)
}

/** A property of a tool's parameters: as tools have them, now and then whatever JSON there is. */
const property = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .record({
        type: fc.constantFrom('string', 'integer', 'boolean', 'array', 'object', 'number'),
        description: text,
        values: fc.option(fc.array(text, { maxLength: 2 })),
        otherwise: fc.option(number),
      })
      .map(({ type, description, values, otherwise }) => {
        const fields = [`"type":"${type}"`, `"description":${JSON.stringify(description)}`]
        if (type === 'array') fields.push('"items":{"type":"string"}')
        if (type === 'object')
          fields.push('"properties":{},"additionalProperties":{"type":"integer"}')
        if (values !== null) fields.push(`"enum":${JSON.stringify(values)}`)
        if (otherwise !== null) fields.push(`"default":${otherwise}`)
        return `{${fields.join(',')}}`
      }),
  },
  { weight: 1, arbitrary: object(json) },
)

const parameters = fc
  .tuple(object(property), fc.array(word, { maxLength: 2 }))
  .map(([properties, required]) => {
    return `{"type":"object","properties":${properties},"required":${JSON.stringify(required)}}`
  })

const tool = fc.tuple(word, text, parameters).map(([name, description, schema]) => {
  const head = `"name":${JSON.stringify(name)},"description":${JSON.stringify(description)}`
  return `{"type":"function","function":{${head},"parameters":${schema}}}`
})

const content = fc.oneof(
  { weight: 5, arbitrary: text.map((one) => JSON.stringify(one)) },
  {
    weight: 1,
    arbitrary: fc
      .array(text, { minLength: 1, maxLength: 3 })
      .map((texts) => JSON.stringify(texts.map((one) => ({ type: 'text', text: one })))),
  },
)

const id = fc.integer({ min: 0, max: 1e9 - 1 }).map((value) => String(value).padStart(9, 'a'))

interface Call {
  readonly id: string
  readonly json: string
}

const call: fc.Arbitrary<Call> = fc.tuple(id, word, object(json)).map(([callId, name, args]) => {
  const function_ = `{"name":${JSON.stringify(name)},"arguments":${JSON.stringify(args)}}`
  return { id: callId, json: `{"id":"${callId}","type":"function","function":${function_}}` }
})

/** One turn of user and assistant, with or without calls of tools between. */
const turn = fc
  .record({
    question: content,
    calls: fc.oneof(
      { weight: 3, arbitrary: fc.constant<Call[]>([]) },
      fc.array(call, { minLength: 1, maxLength: 2 }),
    ),
    spoken: fc.constantFrom('null', '""', '"I look it up."'),
    results: fc.array(content, { minLength: 2, maxLength: 2 }),
    reasoning: fc.option(text),
    answer: content,
  })
  .map(({ question, calls, spoken, results, reasoning, answer }) => {
    const thoughts = reasoning === null ? '' : `,"reasoning":${JSON.stringify(reasoning)}`
    const said = calls.map(({ json: one }) => one).join(',')
    const messages = [`{"role":"user","content":${question}}`]
    if (calls.length > 0) {
      messages.push(`{"role":"assistant","content":${spoken},"tool_calls":[${said}]${thoughts}}`)
    }
    for (const [i, { id: callId }] of calls.entries()) {
      messages.push(`{"role":"tool","tool_call_id":"${callId}","content":${results[i]}}`)
    }
    messages.push(`{"role":"assistant","content":${answer}${thoughts}}`)
    return messages
  })

const kwargs = fc.constantFrom(
  undefined,
  '{"enable_thinking":false}',
  '{"enable_thinking":true}',
  '{"thinking":true,"custom_tools":null}',
  '{"reasoning_effort":"high","model_identity":"I"}',
  '{"date_string":"1 Jan 2026","keep_past_thinking":1.0}',
)

/** The JSON text of a chat completion's body, as clients send them and as templates of the field accept them. */
export const chatBody: fc.Arbitrary<string> = fc
  .record({
    system: fc.option(content),
    turns: fc.array(turn, { maxLength: 3 }),
    last: content,
    endsWithAnswer: fc.boolean(),
    tools: fc.oneof(fc.constant([]), fc.array(tool, { maxLength: 2 })),
    kwargs,
    prompted: fc.constantFrom(undefined, 'true', 'false'),
  })
  .map(({ system, turns, last, endsWithAnswer, tools, kwargs: given, prompted }) => {
    const messages = turns.flat()
    if (system !== null) messages.unshift(`{"role":"system","content":${system}}`)
    if (!endsWithAnswer || turns.length === 0) {
      messages.push(`{"role":"user","content":${last}}`)
    }
    const fields = [`"model":"m"`, `"messages":[${messages.join(',')}]`]
    if (tools.length > 0) fields.push(`"tools":[${tools.join(',')}]`)
    if (given !== undefined) fields.push(`"chat_template_kwargs":${given}`)
    if (prompted !== undefined) fields.push(`"add_generation_prompt":${prompted}`)
    return `{${fields.join(',')}}`
  })
