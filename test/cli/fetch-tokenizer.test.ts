import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { addFetchTokenizerCommand } from '../../src/cli/fetch-tokenizer.ts'
import { byteTokenizersDir } from '../tokenize/fixtures.ts'
import { HubServer } from '../tokenize/hub-server.ts'

/** Runs the command from its sources to its end, with an environment of its own. */
function fetchTokenizer(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'src/main.ts', 'fetch-tokenizer', ...args],
    { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk))
  return new Promise((resolve) =>
    child.once('close', (status) => resolve({ status, stdout, stderr })),
  )
}

describe('epp fetch-tokenizer', function () {
  this.timeout(60_000)
  let source: string
  let folder: string
  let hub: HubServer

  before(async () => {
    source = byteTokenizersDir('m')
    hub = await HubServer.start('127.0.0.2', (path, request) => {
      if (request.headers.authorization !== 'Bearer secret-token') return [401, '']
      const name = path.split('/').at(-1)!
      const known = readdirSync(join(source, 'm')).includes(name)
      return known ? [200, readFileSync(join(source, 'm', name), 'utf8')] : [404, '']
    })
  })
  after(async () => {
    await hub.stop()
    rmSync(source, { recursive: true })
  })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-fetch-'))
    hub.seen.length = 0
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const model = ['--model', 'Qwen/Qwen3-32B']

  it('says in plain lines what it has fetched, and has nothing to do the second time', async () => {
    const env = { HF_TOKEN: 'secret-token', HF_ENDPOINT: hub.url, EPP_TOKENIZERS_DIR: folder }
    const first = await fetchTokenizer(model, env)
    assert.deepEqual(first, {
      status: 0,
      stdout:
        'tokenizer_config.json: 0.0 MB\ntokenizer.json: 0.0 MB\n' +
        `${join(folder, 'Qwen--Qwen3-32B')}: tokenizer_config.json, tokenizer.json\n`,
      stderr: '',
    })
    assert.deepEqual(readdirSync(folder), ['Qwen--Qwen3-32B'])
    assert.equal(hub.seen.length, 3)
    const second = await fetchTokenizer(model, env)
    assert.equal(second.status, 0)
    assert.match(second.stdout, /Qwen--Qwen3-32B: already there; --force downloads it again\n$/)
    assert.equal(hub.seen.length, 3)
    const third = await fetchTokenizer([...model, '--force'], env)
    assert.equal(third.status, 0)
    assert.equal(hub.seen.length, 6)
  })

  it("takes ModelScope's token, and a name that the engines serve", async () => {
    const { status } = await fetchTokenizer(
      [
        ...[...model, '--hub', 'modelscope', '--hub-url', hub.url, '--name', 'Qwen3-32B'],
        ...['--tokenizers-dir', folder],
      ],
      { MODELSCOPE_API_TOKEN: 'secret-token', HF_TOKEN: 'other' },
    )
    assert.equal(status, 0)
    assert.deepEqual(readdirSync(folder), ['Qwen3-32B'])
    assert.ok(hub.paths.includes('/models/Qwen/Qwen3-32B/resolve/master/tokenizer.json'))
  })

  it('exits 1 with one line when the hub refuses, without the token in it', async () => {
    const args = [...model, '--hub-url', hub.url, '--tokenizers-dir', folder]
    const { status, stdout, stderr } = await fetchTokenizer(args, { HF_TOKEN: 'wrong-token' })
    assert.equal(status, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /^epp: http:.* answers 401: the token in HF_TOKEN is not accepted.*\n$/)
    assert.ok(!stderr.includes('wrong-token'))
  })

  for (const [args, message] of [
    [[], /required option '--model <id>' not specified/],
    [['--model', '../x', '--tokenizers-dir', 'd'], /"\.\.\/x" is not a model/],
    [[...model, '--name', '..', '--tokenizers-dir', 'd'], /"\.\." is not a model/],
    [[...model, '--tokenizers-dir', 'd', '--hub', 'x'], /Allowed choices are huggingface, modelsc/],
    [[...model, '--tokenizers-dir', 'd', '--hub-url', 'x'], /"x" is not a URL/],
  ] as const) {
    it(`refuses ${args.join(' ') || 'nothing'}`, async () => {
      const program = new Command().exitOverride().configureOutput({ writeErr: () => {} })
      addFetchTokenizerCommand(program)
      const run = program.parseAsync(['fetch-tokenizer', ...args], { from: 'user' })
      await assert.rejects(run, { message })
    })
  }
})
