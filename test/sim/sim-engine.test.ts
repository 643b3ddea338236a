import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { PromptTokenizer } from '../../src/tokenize/prompt-tokenizer.ts'
import { tokenizersDir } from '../tokenize/fixtures.ts'
import { clock, memoryLogger, memoryMetrics, memoryNotices } from '../tokenize/services.ts'
import { post, type RunningEngine, startEngine } from './engine.ts'

const FIXTURES = join(import.meta.dirname, '..', 'fixtures')

/** The body of one of the two requests of the ACK documents, as `curl -d @file` sends it. */
function ackBody(round: 'round1' | 'round2'): string {
  return readFileSync(join(FIXTURES, 'chat-tokens', `${round}.json`), 'utf8')
}

/** The JSON of each event of a stream, `[DONE]` left out. */
function chunksOf(stream: string): Record<string, unknown>[] {
  const events = stream.split('\n\n').filter((event) => event !== '')
  assert.equal(events.pop(), 'data: [DONE]')
  return events.map((event) => JSON.parse(event.slice('data: '.length)))
}

/** Keys in order, at each depth; values left out. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shapeOf(value[0])]
  if (typeof value !== 'object' || value === null) return null
  return Object.entries(value).map(([key, item]) => [key, shapeOf(item)])
}

/** A recorded page of `/metrics`, and ours, as the set of names with labels. */
function seriesOf(page: string): Set<string> {
  const series = new Set<string>()
  for (const line of page.split('\n')) {
    if (line.startsWith('# TYPE')) series.add(line)
    else if (line.startsWith('vllm:')) {
      series.add(line.slice(0, line.lastIndexOf(' ')).replace(/="[^"]*"/g, '='))
    }
  }
  return series
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = clock.nowMs() + 10_000
  while (!(await condition())) {
    assert.ok(clock.nowMs() < deadline, 'it did not happen within 10 s')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const ANSWERS = JSON.parse(
  gunzipSync(readFileSync(join(import.meta.dirname, 'recorded-answers.json.gz'))).toString(),
) as Readonly<Record<string, RecordedAnswers>>

describe('SimEngine', () => {
  const directory = tokenizersDir('Qwen3-32B')
  const tokenizer = new PromptTokenizer({
    tokenizersDir: directory,
    models: { baseOf: () => undefined },
    clock,
    logger: memoryLogger(),
    metrics: memoryMetrics(),
    notices: memoryNotices(),
    budgetMs: 30_000,
  })
  let running: RunningEngine

  const start = async (flags: Readonly<Record<string, string>> = {}): Promise<RunningEngine> => {
    running = await startEngine(tokenizer, { blockSize: '64', numGpuBlocks: '200', ...flags })
    return running
  }
  afterEach(() => running.engine.close())
  after(async () => {
    await tokenizer.close()
    rmSync(directory, { recursive: true })
  })

  it('counts the documents’ rounds as 197 and 309 tokens and finds 128 of round2 after round1', async () => {
    const { url, messages } = await start({ engineVersion: '0.10.0' })
    const usages: unknown[] = []
    for (const round of ['round1', 'round2'] as const) {
      const { body } = await post(`${url}/v1/chat/completions`, ackBody(round))
      usages.push(chunksOf(body).at(-1)!.usage)
    }
    assert.deepEqual(usages, [
      { prompt_tokens: 197, total_tokens: 221, completion_tokens: 24 },
      {
        prompt_tokens: 309,
        total_tokens: 312,
        completion_tokens: 3,
        prompt_tokens_details: { cached_tokens: 128 },
      },
    ])
    const stored = messages
      .flat()
      .map((event) => (event.type === 'BlockStored' ? event.blockHashes.length : 0))
    assert.deepEqual(stored, [3, 2])
  })

  it('finds a whole conversation again when its own answer is sent back', async () => {
    const { url } = await start()
    const messages = [{ role: 'user', content: 'Tell me a story. '.repeat(60) }]
    const ask = async (): Promise<Record<string, never>> => {
      const { body } = await post(`${url}/v1/chat/completions`, {
        messages,
        max_tokens: 200,
        ignore_eos: true,
      })
      return JSON.parse(body)
    }
    const first = (await ask()) as unknown as Answer
    messages.push({ role: 'assistant', content: first.choices[0]!.message.content })
    messages.push({ role: 'user', content: 'Go on.' })
    const second = (await ask()) as unknown as Answer
    const { prompt_tokens: before } = first.usage
    assert.equal(
      second.usage.prompt_tokens_details.cached_tokens,
      Math.floor((before + 199) / 64) * 64,
    )
  })

  for (const [version, real] of Object.entries(ANSWERS)) {
    it(`answers a chat in the shape of ${version}`, async () => {
      const { url } = await start({ engineVersion: version })
      const { request, response, contentType } = real.chat
      await post(`${url}/v1/chat/completions`, request)
      const { body, status, headers } = await post(`${url}/v1/chat/completions`, request)
      assert.equal(status, 200)
      assert.equal(headers.get('content-type'), contentType)
      assert.deepEqual(shapeOf(JSON.parse(body)), shapeOf(response))
    })

    it(`streams a chat in the shape of ${version}`, async () => {
      const { url } = await start({ engineVersion: version })
      const { request, chunks, contentType } = real.chatStream
      const { body, headers } = await post(`${url}/v1/chat/completions`, request)
      assert.equal(headers.get('content-type'), contentType)
      assert.deepEqual(chunksOf(body).map(shapeOf), chunks.map(shapeOf))
    })

    it(`streams a completion in the shape of ${version}`, async () => {
      const { url } = await start({ engineVersion: version })
      const { request, chunks } = real.completionStream
      await post(`${url}/v1/completions`, request)
      const { body } = await post(`${url}/v1/completions`, request)
      assert.deepEqual(chunksOf(body).map(shapeOf), chunks.map(shapeOf))
    })

    it(`writes /metrics with names and labels of ${version}`, async () => {
      const { url } = await start({ engineVersion: version })
      await post(`${url}/v1/completions`, { prompt: 'a b c', max_tokens: 2 })
      const page = await (await fetch(`${url}/metrics`)).text()
      const real = seriesOf(
        gunzipSync(readFileSync(join(FIXTURES, 'metrics', `v${version}-load.txt.gz`))).toString(),
      )
      const ours = seriesOf(page)
      ours.delete('# TYPE vllm:lora_requests_info gauge')
      const strange = [...ours].filter(
        (series) => !real.has(series) && !series.includes('cache_config_info{'),
      )
      assert.deepEqual(strange, [])
      assert.match(page, /^vllm:prompt_tokens_total\{engine="0",model_name="Qwen3-32B"\} 3\.0$/m)
      assert.match(
        page,
        /^vllm:cache_config_info\{block_size="64",.*num_gpu_blocks="200".*\} 1\.0$/m,
      )
    })
  }

  describe('with ranks behind its port', () => {
    const body = (prompt: string) => ({ prompt: `${prompt} `.repeat(200), max_tokens: 1 })
    const cached = ({ body: text }: { readonly body: string }) =>
      JSON.parse(text).usage.prompt_tokens_details.cached_tokens
    const at = (rank: string) => ({ 'x-data-parallel-rank': rank })

    it('has a cache and metrics for each, and runs a request where the header says', async () => {
      const { url } = await start({ dataParallelSize: '3' })
      await post(`${url}/v1/completions`, body('one'), at('2'))
      assert.equal(cached(await post(`${url}/v1/completions`, body('one'), at('0'))), 0)
      assert.ok(cached(await post(`${url}/v1/completions`, body('one'), at('2'))) > 0)
      const page = await (await fetch(`${url}/metrics`)).text()
      const prompts = [
        ...page.matchAll(
          /^vllm:request_success_total\{engine="(\d)",finished_reason="length",.*\} (\d)\.0$/gm,
        ),
      ]
      assert.deepEqual(
        prompts.map(([, rank, count]) => [rank, count]),
        [
          ['0', '1'],
          ['1', '0'],
          ['2', '2'],
        ],
      )
      assert.equal(page.match(/^vllm:cache_config_info\{.*num_gpu_blocks="600",/gm)?.length, 3)
    })

    it('refuses a rank that it has not, ignores what is no number, and balances without one', async () => {
      const { url } = await start({ dataParallelSize: '2' })
      const refused = await post(`${url}/v1/completions`, body('two'), at('2'))
      assert.equal(refused.status, 400)
      assert.match(refused.body, /data_parallel_rank 2 is out of range \[0, 2\)\./)
      for (const headers of [at('first'), {}]) {
        assert.equal((await post(`${url}/v1/completions`, body('two'), headers)).status, 200)
      }
      const page = await (await fetch(`${url}/metrics`)).text()
      assert.deepEqual(page.match(/^vllm:request_success_total\{.*length.*\} 1\.0$/gm)?.length, 2)
    })
  })

  it('takes its id from x-request-id', async () => {
    const { url } = await start()
    const chat = { messages: [{ role: 'user', content: 'hi' }], max_tokens: 1 }
    const answer = await post(`${url}/v1/chat/completions`, chat, { 'x-request-id': 'r-7' })
    assert.equal(JSON.parse(answer.body).id, 'chatcmpl-r-7')
  })

  it('gives the same answer to the same prompt and another to another', async () => {
    const { url } = await start()
    const ask = async (prompt: string): Promise<string> =>
      JSON.parse((await post(`${url}/v1/completions`, { prompt, max_tokens: 8 })).body).choices[0]
        .text
    const first = await ask('one')
    assert.match(first, /^( [a-z]+){8}$/)
    assert.equal(await ask('one'), first)
    assert.notEqual(await ask('two'), first)
  })

  it('ends an answer by itself when given room', async () => {
    const { url } = await start()
    const { body } = await post(`${url}/v1/completions`, { prompt: 'x', max_tokens: 2000 })
    const { choices, usage } = JSON.parse(body)
    assert.equal(choices[0].finish_reason, 'stop')
    assert.ok(usage.completion_tokens >= 64 && usage.completion_tokens <= 256)
  })

  it('answers each prompt of a list', async () => {
    const { url } = await start()
    const { body } = await post(`${url}/v1/completions`, {
      prompt: ['a b', 'c d e'],
      max_tokens: 2,
    })
    const { choices, usage } = JSON.parse(body)
    assert.deepEqual(
      choices.map(({ index }: { index: number }) => index),
      [0, 1],
    )
    assert.equal(usage.prompt_tokens, 5)
    assert.equal(usage.completion_tokens, 4)
  })

  it('keeps tenants and adapters apart', async () => {
    const { url, messages } = await start({ loraModules: 'sql-lora=/adapters/sql' })
    const prompt = 'alpha beta gamma delta '.repeat(40)
    const cached = async (more: object): Promise<number> => {
      const { body } = await post(`${url}/v1/completions`, { prompt, max_tokens: 1, ...more })
      return JSON.parse(body).usage.prompt_tokens_details.cached_tokens
    }
    const salted = { cache_salt: 'a' }
    const adapter = { model: 'sql-lora' }
    assert.deepEqual(
      [
        await cached({}),
        await cached(salted),
        await cached(adapter),
        await cached({ cache_salt: 'b' }),
      ],
      [0, 0, 0, 0],
    )
    assert.ok((await cached(salted)) > 0)
    assert.ok((await cached(adapter)) > 0)
    const stored = messages.flat().filter((event) => event.type === 'BlockStored')
    assert.deepEqual(
      stored.map(({ loraName, extraKeys }) => [loraName, extraKeys[0], extraKeys[1]]),
      [
        [null, null, null],
        [null, ['a'], null],
        ['sql-lora', ['sql-lora'], ['sql-lora']],
        [null, ['b'], null],
      ],
    )
  })

  it('frees everything at once when a client goes away', async () => {
    const { url } = await start({ decodeMs: '20' })
    const { hostname, port } = new URL(url)
    const body = JSON.stringify({
      prompt: 'word '.repeat(200),
      max_tokens: 500,
      stream: true,
      ignore_eos: true,
    })
    const socket = connect(Number(port), hostname)
    socket.write(
      `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    await new Promise((resolve) => socket.once('data', resolve))
    const sample = async (name: string): Promise<number> => {
      const page = await (await fetch(`${url}/metrics`)).text()
      return Number(new RegExp(`^vllm:${name}\\{[^}]*\\} (.*)$`, 'm').exec(page)![1])
    }
    assert.equal(await sample('num_requests_running'), 1)
    socket.destroy()
    await until(async () => (await sample('num_requests_running')) === 0)
    assert.equal(await sample('kv_cache_usage_perc'), 0)
    const page = await (await fetch(`${url}/metrics`)).text()
    assert.match(page, /finished_reason="abort",model_name="Qwen3-32B"\} 1\.0/)
  })

  it('lists its model and adapters', async () => {
    const { url } = await start({ loraModules: 'sql-lora=/adapters/sql', maxModelLen: '4096' })
    const { data } = (await (await fetch(`${url}/v1/models`)).json()) as {
      data: Record<string, unknown>[]
    }
    assert.deepEqual(
      data.map(({ id, parent, max_model_len }) => [id, parent, max_model_len]),
      [
        ['Qwen3-32B', null, 4096],
        ['sql-lora', 'Qwen3-32B', null],
      ],
    )
  })

  it('tokenizes', async () => {
    const { url } = await start({ maxModelLen: '4096' })
    const chat = await post(`${url}/tokenize`, { messages: [{ role: 'user', content: 'hi' }] })
    assert.deepEqual(JSON.parse(chat.body), {
      count: 9,
      max_model_len: 4096,
      tokens: [151644, 872, 198, 6023, 151645, 198, 151644, 77091, 198],
      token_strs: null,
    })
    const text = await post(`${url}/tokenize`, { prompt: 'hi <|im_end|> 你好' })
    assert.deepEqual(JSON.parse(text.body).tokens, [6023, 220, 151645, 220, 108386])
  })

  it('embeds', async () => {
    const { url } = await start()
    const { body } = await post(`${url}/v1/embeddings`, { input: ['a b', 'a b', 'c'] })
    const { data, usage } = JSON.parse(body)
    assert.deepEqual(data[0].embedding, data[1].embedding)
    assert.notDeepEqual(data[0].embedding, data[2].embedding)
    assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [5, 0])
  })

  it('answers /health, /ping and /version', async () => {
    const { url } = await start({ engineVersion: '0.10.0' })
    assert.equal((await fetch(`${url}/health`)).status, 200)
    assert.equal((await fetch(`${url}/ping`)).status, 200)
    assert.deepEqual(await (await fetch(`${url}/version`)).json(), { version: '0.10.0' })
  })

  it('resets its cache', async () => {
    const { url } = await start()
    const send = { prompt: 'some words '.repeat(100), max_tokens: 1 }
    const cached = async (): Promise<number> =>
      JSON.parse((await post(`${url}/v1/completions`, send)).body).usage.prompt_tokens_details
        .cached_tokens
    assert.deepEqual([await cached(), await cached()], [0, 192])
    assert.equal((await post(`${url}/reset_prefix_cache`, '')).body, '{"success":true}')
    assert.equal(await cached(), 0)
  })

  it('works without a tokenizer', async () => {
    const plain = new PromptTokenizer({
      tokenizersDir: undefined,
      models: { baseOf: () => undefined },
      clock,
      logger: memoryLogger(),
      metrics: memoryMetrics(),
      notices: memoryNotices(),
    })
    running = await startEngine(plain, { blockSize: '16' })
    const send = { messages: [{ role: 'user', content: 'Größe 🚀 '.repeat(40) }], max_tokens: 4 }
    await post(`${running.url}/v1/chat/completions`, send)
    const { body } = await post(`${running.url}/v1/chat/completions`, send)
    const { usage, choices } = JSON.parse(body) as Answer
    assert.ok(usage.prompt_tokens_details.cached_tokens >= 16 * 8)
    assert.match(choices[0]!.message.content, /^( [a-z]+){4}$/)
    await plain.close()
  })

  const chat = { messages: [{ role: 'user', content: 'hi' }] }
  for (const [name, path, body, status, message] of [
    [
      'a model it has not',
      '/v1/chat/completions',
      { ...chat, model: 'no-such-model' },
      404,
      /The model `no-such-model` does not exist/,
    ],
    ['what is not JSON', '/v1/chat/completions', '{"model":', 400, /JSON decode error/],
    ['JSON that is no object', '/v1/chat/completions', '[]', 400, /valid dictionary/],
    ['no messages', '/v1/chat/completions', {}, 400, /Field required/],
    ['messages of a wrong type', '/v1/chat/completions', { messages: 7 }, 400, /messages/],
    [
      'a negative temperature',
      '/v1/chat/completions',
      { ...chat, temperature: -1 },
      400,
      /temperature must be non-negative, got -1/,
    ],
    [
      'an empty salt',
      '/v1/chat/completions',
      { ...chat, cache_salt: '' },
      400,
      /must be a non-empty string/,
    ],
    [
      'two ways to end',
      '/v1/chat/completions',
      { ...chat, add_generation_prompt: true, continue_final_message: true },
      400,
      /Cannot set both/,
    ],
    [
      'no tokens to make',
      '/v1/chat/completions',
      { ...chat, max_tokens: 0 },
      400,
      /max_tokens must be at least 1/,
    ],
    [
      'too many tokens to make',
      '/v1/completions',
      { prompt: 'hi', max_tokens: 4101 },
      400,
      /cannot be greater than max_model_len=4096/,
    ],
    [
      'too long a prompt',
      '/v1/completions',
      { prompt: new Array(4106).fill(5) },
      400,
      /your prompt contains 4106 input tokens/,
    ],
    [
      'too long a prompt, streamed',
      '/v1/completions',
      { prompt: new Array(4106).fill(5), stream: true },
      400,
      /4106/,
    ],
    [
      'prompt and answer too long together',
      '/v1/completions',
      { prompt: new Array(4000).fill(5), max_tokens: 100 },
      400,
      /you requested 4100 tokens/,
    ],
    [
      'an id out of the vocabulary',
      '/v1/completions',
      { prompt: [999999999] },
      400,
      /Token id 999999999 is out of vocabulary/,
    ],
    ['several choices', '/v1/chat/completions', { ...chat, n: 2 }, 400, /n must be 1/],
    ['tokenizing nothing', '/tokenize', {}, 400, /messages or prompt/],
  ] as const) {
    it(`refuses ${name}`, async () => {
      const { url } = await start({ maxModelLen: '4096' })
      const answer = await post(url + path, body)
      assert.equal(answer.status, status)
      assert.equal(answer.headers.get('content-type'), 'application/json')
      const { error } = JSON.parse(answer.body)
      assert.equal(error.code, status)
      assert.match(error.message, message)
    })
  }

  it('answers unknown paths and methods as uvicorn does', async () => {
    const { url } = await start()
    const unknown = await post(`${url}/v1/nothing`, {})
    assert.deepEqual([unknown.status, unknown.body], [404, '{"detail":"Not Found"}'])
    const method = await fetch(`${url}/v1/chat/completions`)
    assert.deepEqual([method.status, method.headers.get('allow')], [405, 'POST'])
  })

  it('says that its port is taken', async () => {
    const { url } = await start()
    const { port } = new URL(url)
    await assert.rejects(startEngine(tokenizer, { port }), {
      code: 'PORT_IN_USE',
      message: `port ${port} of 127.0.0.1 is in use; choose another with --port`,
    })
  })
})

interface Answer {
  readonly choices: readonly { readonly message: { readonly content: string } }[]
  readonly usage: {
    readonly prompt_tokens: number
    readonly prompt_tokens_details: { readonly cached_tokens: number }
  }
}

/** Answers of a real engine by its version; fields that only its recorder asked for are left out. */
interface RecordedAnswers {
  readonly chat: {
    readonly request: unknown
    readonly contentType: string
    readonly response: unknown
  }
  readonly chatStream: RecordedStream
  readonly completionStream: RecordedStream
}

interface RecordedStream {
  readonly request: unknown
  readonly contentType: string
  readonly chunks: readonly unknown[]
}
