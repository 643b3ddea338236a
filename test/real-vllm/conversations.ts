/** One request. */
export interface Turn {
  readonly path: string
  readonly body: Readonly<Record<string, unknown>>
}

/** Requests of one kind, each made from the answer to the one before. */
export interface Conversation {
  readonly kind: string
  /** @param answer the body of the last answer. @returns undefined when it is over */
  next(answer: string | undefined): Turn | undefined
}

type Message = Readonly<Record<string, unknown>>

const MODEL = 'Qwen3-32B'
const CHAT = '/v1/chat/completions'
const TURNS = 3
/** Little is generated: the model's words mean nothing. */
const MAX_TOKENS = 24

const STORY =
  'The harbour master keeps a ledger of every ship that enters the bay, with its draught, its cargo and the hour of the tide. '

/** Text of about `sentences` × 25 tokens that no other conversation has. */
const text = (topic: string, sentences: number) =>
  Array.from({ length: sentences }, (_, i) => `${topic} ${i + 1}: ${STORY}`).join('')

const WEATHER = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Tells the weather of a place.',
    parameters: {
      type: 'object',
      properties: {
        place: { type: 'string', description: 'A town' },
        radius: { type: 'number', minimum: 0.5, maximum: 1e3, default: 1.0 },
      },
      required: ['place'],
    },
  },
}

const THOUGHT = 'thinking about the tides'

/** A chat that goes on with what the model said; `more` are fields of every body. */
function chat(
  kind: string,
  first: readonly Message[],
  more: Readonly<Record<string, unknown>> = {},
  question: (turn: number) => readonly Message[] = (turn) => [
    { role: 'user', content: text(`${kind} question ${turn}`, 3) },
  ],
): Conversation {
  let messages = first
  let turn = 0
  return {
    kind,
    next(answer) {
      if (turn === TURNS) return undefined
      if (answer !== undefined) {
        messages = [...messages, { role: 'assistant', content: said(answer) }, ...question(turn)]
      }
      turn++
      const body = { model: MODEL, max_tokens: MAX_TOKENS, temperature: 0, messages, ...more }
      return { path: CHAT, body }
    },
  }
}

/** What the model said, in an answer of any of the APIs, whole or as a stream. */
function said(answer: string): string {
  if (answer.startsWith('data: ')) {
    return answer
      .split('\n\n')
      .filter((event) => event.startsWith('data: {'))
      .map((event) => JSON.parse(event.slice('data: '.length)))
      .map(({ choices }) => choices?.[0]?.delta?.content ?? '')
      .join('')
  }
  const { choices, output, content } = JSON.parse(answer)
  if (choices) return choices[0].message?.content ?? choices[0].text ?? ''
  const parts = content ?? output?.flatMap((item: { content?: unknown }) => item.content ?? [])
  return parts?.map((part: { text?: string }) => part.text ?? '').join('') ?? ''
}

/** Completions that each go on where the last one ended. */
function completion(
  kind: string,
  prompt: (before: string) => unknown,
  more: Readonly<Record<string, unknown>> = {},
): Conversation {
  let before = text(kind, 6)
  let turn = 0
  return {
    kind,
    next(answer) {
      if (turn++ === TURNS) return undefined
      if (answer !== undefined) before = `${before}${said(answer)} ${text(`more ${turn}`, 3)}`
      const body = { model: MODEL, max_tokens: MAX_TOKENS, temperature: 0, ...more }
      return { path: '/v1/completions', body: { ...body, prompt: prompt(before) } }
    },
  }
}

/** Ids that mean nothing, the same ones for the same length. */
const ids = (length: number) => Array.from({ length }, (_, i) => 1000 + ((i * 7919) % 90_000))

function user(kind: string, sentences = 6): Message {
  return { role: 'user', content: text(kind, sentences) }
}

/** Requests of every kind that a text-only model serves, in the order in which they are sent. */
export function conversations(version: string): readonly Conversation[] {
  const system = { role: 'system', content: text('instructions for all', 8) }
  const all: Conversation[] = [
    chat('plain', [user('plain')]),
    chat('shared instructions A', [system, user('customer A', 4)]),
    chat('shared instructions B', [system, user('customer B', 4)]),
    chat('streamed', [system, user('streamed', 4)], {
      stream: true,
      stream_options: { include_usage: true },
    }),
    chat('tools', [system, user('tools', 3)], { tools: [WEATHER], tool_choice: 'none' }),
    chat('tool results', [user('tool results')], { tools: [WEATHER], tool_choice: 'none' }, () => [
      {
        role: 'assistant',
        content: null,
        tool_calls: [
          {
            id: 'call_1',
            type: 'function',
            function: { name: 'get_weather', arguments: '{"place": "Ålesund",  "radius": 1.50}' },
          },
        ],
      },
      { role: 'tool', tool_call_id: 'call_1', content: text('rain', 3) },
    ]),
    chat('parts', [
      {
        role: 'user',
        content: [
          { type: 'text', text: text('part one', 3) },
          { type: 'text', text: text('part two', 3) },
        ],
      },
    ]),
    chat('thinking off', [user('thinking off')], {
      chat_template_kwargs: { enable_thinking: false },
    }),
    chat('thought before', [
      user('thought before'),
      { role: 'assistant', content: 'Yes.', reasoning_content: THOUGHT },
      user('and then', 3),
    ]),
    chat('names', [{ ...user('names'), name: 'ada' }]),
    chat('developer', [{ role: 'developer', content: text('rules', 5) }, user('developer', 3)]),
    chat('unicode', [
      {
        role: 'user',
        content: `👩‍👩‍👧 naïve café نص عربي ${'\u0301'}e ${text('unicode 漢字', 6)}`,
      },
    ]),
    chat('documents', [user('documents')], { documents: [{ title: 'a', text: 'b' }] }),
    chat('salted', [user('salted')], { cache_salt: 'tenant-a' }),
    chat('salted otherwise', [user('salted')], { cache_salt: 'tenant-b' }),
    chat('special tokens', [user('special tokens')], { add_special_tokens: true }),
    completion('text', (before) => before),
    completion('ids', (before) => ids(400 + before.length)),
    completion('several texts', (before) => [before, `second ${before}`]),
    completion('several lists of ids', (before) => [ids(200 + before.length), ids(100)]),
    continued('continued'),
    effort('no effort'),
  ]
  if (!version.startsWith('0.10.')) all.push(messagesApi('Anthropic'), responsesApi('responses'))
  return all
}

/** The last message is one of the model's, which it is to go on with. */
function continued(kind: string): Conversation {
  let turn = 0
  return {
    kind,
    next() {
      if (turn++ === TURNS) return undefined
      const messages = [
        user(kind),
        { role: 'assistant', content: `Once upon a time ${text('tale', turn)}` },
      ]
      const how = { add_generation_prompt: false, continue_final_message: true }
      return { path: CHAT, body: { model: MODEL, max_tokens: MAX_TOKENS, messages, ...how } }
    },
  }
}

function effort(kind: string): Conversation {
  return chat(kind, [user(kind)], { reasoning_effort: 'low' })
}

/** Anthropic's API. */
function messagesApi(kind: string): Conversation {
  let messages: readonly Message[] = [user(kind)]
  let turn = 0
  return {
    kind,
    next(answer) {
      if (turn++ === TURNS) return undefined
      if (answer !== undefined) {
        const content = [{ type: 'text', text: said(answer) || '.' }]
        messages = [...messages, { role: 'assistant', content }, user(`${kind} ${turn}`, 3)]
      }
      const body = { model: MODEL, max_tokens: MAX_TOKENS, temperature: 0, messages }
      return { path: '/v1/messages', body: { ...body, system: text('be brief', 3) } }
    },
  }
}

function responsesApi(kind: string): Conversation {
  let input: readonly Message[] = [user(kind)]
  let turn = 0
  return {
    kind,
    next(answer) {
      if (turn++ === TURNS) return undefined
      if (answer !== undefined) {
        input = [...input, { role: 'assistant', content: said(answer) }, user(`${kind} ${turn}`, 3)]
      }
      const body = { model: MODEL, max_output_tokens: MAX_TOKENS, temperature: 0, store: false }
      return { path: '/v1/responses', body: { ...body, input, instructions: text('be kind', 3) } }
    },
  }
}
