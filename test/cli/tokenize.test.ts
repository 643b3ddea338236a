import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode } from '@msgpack/msgpack'
import type { Tokenized } from '../../src/cli/tokenize-body.ts'
import { loadRecording } from '../kvcache/recordings.ts'
import { byteTokenizersDir, chatCases, tokenizersDir } from '../tokenize/fixtures.ts'

const MODEL = 'Qwen3-32B'

const DECODING = { useBigInt64: true, mapKeyConverter: String }

/** Every hash in a decoded message, as 16 hexadecimal digits. */
function collectHashes(value: unknown, into: Set<string>): void {
  if (typeof value === 'bigint') into.add(BigInt.asUintN(64, value).toString(16).padStart(16, '0'))
  else if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)) {
    for (const one of Object.values(value)) collectHashes(one, into)
  }
}

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function epp(args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, ['--import', 'tsx', 'src/main.ts', 'tokenize', ...args])
}

async function run(args: readonly string[], input: string): Promise<Ended> {
  const child = epp(args)
  let out = ''
  let err = ''
  child.stdout.on('data', (text) => (out += text))
  child.stderr.on('data', (text) => (err += text))
  child.stdin.on('error', () => {}).end(input)
  const code = await new Promise<number | null>((done) => child.on('close', done))
  return { code, out, err }
}

describe('epp tokenize', function () {
  this.timeout(120_000)
  const qwen3 = tokenizersDir(MODEL)
  const bytes = byteTokenizersDir(MODEL)
  const folder = mkdtempSync(join(tmpdir(), 'bodies-'))
  after(() => {
    for (const path of [qwen3, bytes, folder]) rmSync(path, { recursive: true })
  })

  for (const engine of ['vllm-0.32.0', 'vllm-0.10.0'] as const) {
    it(`gives the token ids of ${engine} for every recorded chat, all exact`, async () => {
      const cases = chatCases(engine)
      const bodies = cases.map(({ json }) => json.replaceAll('\n', ' '))
      const release = engine.slice('vllm-'.length)
      const { code, out, err } = await run(
        ['--jsonl', '--json', '--tokenizers-dir', qwen3, '--engine-version', release],
        bodies.join('\n'),
      )
      assert.deepEqual([code, err], [0, ''])
      const answers = out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Tokenized)
      assert.equal(answers.length, 40)
      for (const [i, { name, prompt_token_ids: ids }] of cases.entries()) {
        const { exact, count, prompts } = answers[i]!
        assert.deepEqual([exact, count, prompts[0]?.tokenIds], [true, ids.length, ids], name)
      }
      console.log(`      ${answers.length} chats exact`)
    })
  }

  it('gives the block keys that an engine published for the requests that it was sent', async () => {
    const { messages, requests } = loadRecording('v0.32.0-block64-sha256_cbor-seed42-lora')
    const published = new Set<string>()
    for (const { frames } of messages) collectHashes(decode(frames[2], DECODING), published)
    const base = requests.filter(
      ({ request, prompt_token_ids: ids, path, status }) =>
        status === 200 &&
        path === '/v1/chat/completions' &&
        request.model === MODEL &&
        (ids?.length ?? 0) >= 64,
    )
    const flags = ['--jsonl', '--json', '--tokenizers-dir', qwen3, '--engine-version', '0.32.0']
    const hashing = ['--block-size', '64', '--hash-algorithm', 'sha256_cbor', '--hash-seed', '42']
    const { out, err } = await run(
      [...flags, ...hashing],
      base.map(({ request }) => JSON.stringify(request)).join('\n'),
    )
    assert.equal(err, '')
    let keys = 0
    for (const [i, line] of out.trimEnd().split('\n').entries()) {
      const { exact, prompts } = JSON.parse(line) as Tokenized
      assert.deepEqual([exact, prompts[0]!.tokenIds], [true, base[i]!.prompt_token_ids])
      for (const key of prompts[0]!.blockKeys) assert.ok(published.has(key), base[i]!.name)
      keys += prompts[0]!.blockKeys.length
    }
    console.log(`      ${base.length} requests, ${keys} block keys, ${published.size} published`)
    assert.ok(keys > 20)
  })

  it('shows people what counts', async () => {
    const file = join(folder, 'body.json')
    writeFileSync(file, '{"model":"x","messages":[{"role":"user","content":"abcdefghijkl"}]}')
    const { code, out } = await run([file, '--tokenizers-dir', bytes, '--block-size', '8'], '')
    assert.equal(code, 0)
    const [first, ids, keys] = out.split('\n')
    assert.equal(first, `${file}: 22 tokens, exact`)
    assert.match(ids!, /^ {2}tokenIds {3}256 117 115 .* … \(--json shows all 22\)$/)
    assert.match(keys!, /^ {2}blockKeys {2}[0-9a-f]{16} [0-9a-f]{16} \(2 of 8\)$/)
  })

  it('says where exactness ends, and why', async () => {
    const image = { type: 'image_url', image_url: { url: 'https://a/b.png' } }
    const body = { messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }, image] }] }
    const { code, out } = await run(['--tokenizers-dir', bytes], JSON.stringify(body))
    assert.equal(code, 0)
    assert.match(
      out,
      /not exact: a message has a part that is not text, .*; the first 6 are the engine's/,
    )
  })

  it('tells the format of a body by its fields', async () => {
    const bodies = [
      { prompt: ['a', 'bc'] },
      { input: 'hi', instructions: 'i' },
      { system: 's', messages: [{ role: 'user', content: 'x' }] },
    ]
    const { out } = await run(
      ['--jsonl', '--json', '--tokenizers-dir', bytes, '--engine-version', '0.32.0'],
      bodies.map((body) => JSON.stringify(body)).join('\r\n'),
    )
    const texts = out
      .trimEnd()
      .split('\n')
      .map((line) =>
        (JSON.parse(line) as Tokenized).prompts.map(({ tokenIds }) =>
          String.fromCharCode(...tokenIds.filter((id) => id < 256)),
        ),
      )
    assert.deepEqual(texts, [['a', 'bc'], ['system:iuser:hia:'], ['system:suser:xa:']])
  })

  it('answers each line as it comes, and goes on after a bad one', async () => {
    const child = epp(['--jsonl', '--tokenizers-dir', bytes])
    let out = ''
    let err = ''
    const until = async (condition: () => boolean) => {
      const deadline = Date.now() + 60_000
      while (!condition()) {
        assert.ok(Date.now() < deadline, `${out}${err}`)
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    child.stdout.on('data', (text) => (out += text))
    child.stderr.on('data', (text) => (err += text))
    child.stdin.write('{"prompt":"abc"}\n')
    await until(() => out.includes('standard input:1: 3 tokens, exact'))
    child.stdin.write('{"prompt":\n\n{"prompt":"abcd"}\n')
    await until(() => out.includes('standard input:4: 4 tokens, exact'))
    child.stdin.end()
    const code = await new Promise((done) => child.on('close', done))
    assert.equal(code, 1)
    assert.equal(
      err,
      'standard input:2: the request body ends in the middle of its JSON; send all of it\n',
    )
  })

  for (const [name, args, input, message] of [
    ['what is not JSON', [], 'secret', /standard input: the request body is not JSON; send a JSON/],
    ['a body without a prompt', [], '{"model":"m"}', /standard input: "messages" is missing; send/],
    ['a file that is not there', ['/nowhere/x'], '', /\/nowhere\/x cannot be read: ENOENT/],
    ['a release that is none', ['--engine-version', 'new'], '{}', /"new" is not a release; write/],
    ['a block size of 0', ['--block-size', '0'], '{}', /"0" is not a positive whole number/],
    [
      'a response that is stored',
      ['--api', 'responses'],
      '{"prompt":{"id":"p"}}',
      /the body has no prompt for \/v1\/responses; check --api/,
    ],
  ] as const) {
    it(`refuses ${name}`, async () => {
      const { code, out, err } = await run([...args, '--tokenizers-dir', bytes], input)
      assert.deepEqual([code, out], [1, ''])
      assert.match(err, message)
      assert.doesNotMatch(err, /secret|\n {4}at /)
    })
  }

  it('fits its help on one screen, with an example that runs', async () => {
    const { code, out } = await run(['--help'], '')
    assert.equal(code, 0)
    assert.ok(out.split('\n').length <= 50, String(out.split('\n').length))
    const [, body] = /echo '(.*)' \|/.exec(out)!
    const flags = /^ {4}epp tokenize (.*)$/m.exec(out)![1]!.split(' ')
    const args = flags.map((flag) => (flag === './tokenizers' ? qwen3 : flag))
    const answer = await run(args, body!)
    assert.match(answer.out, /10 tokens, exact/)
    assert.ok(readFileSync('src/cli/tokenize.ts', 'utf8').includes(body!))
  })
})
