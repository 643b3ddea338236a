import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FetchOptions, fetchTokenizer, isFetched } from '../../src/tokenize/hub.ts'
import { byteTokenizersDir } from './fixtures.ts'
import { type Answers, HubServer } from './hub-server.ts'

const MODEL = 'Qwen/Qwen3-32B'
const HUGGING_FACE = `/${MODEL}/resolve/main`

describe('fetchTokenizer', () => {
  let folder: string
  let files: Readonly<Record<string, string>>
  let servers: HubServer[]

  before(() => {
    const source = byteTokenizersDir('m')
    files = Object.fromEntries(
      readdirSync(join(source, 'm')).map((name) => [
        name,
        readFileSync(join(source, 'm', name), 'utf8'),
      ]),
    )
    rmSync(source, { recursive: true })
    assert.deepEqual(Object.keys(files).sort(), ['tokenizer.json', 'tokenizer_config.json'])
  })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-hub-'))
    servers = []
  })
  afterEach(async () => {
    await Promise.all(servers.map((server) => server.stop()))
    rmSync(folder, { recursive: true })
  })

  const serve = async (address: string, answers: Answers) => {
    const server = await HubServer.start(address, answers)
    servers.push(server)
    return server
  }
  /** A hub with the model's files under that path, and nothing else. */
  const hubAt =
    (base: string): Answers =>
    (path) => {
      const text = path.startsWith(`${base}/`) ? files[path.slice(base.length + 1)] : undefined
      return text === undefined ? [404, 'Entry not found'] : [200, text]
    }
  const optionsFor = (server: HubServer, more: Partial<FetchOptions> = {}): FetchOptions => ({
    hub: 'huggingface',
    model: MODEL,
    hubUrl: server.url,
    tokenizersDir: join(folder, 'tokenizers'),
    folder: 'Qwen3-32B',
    retryMs: 1,
    ...more,
  })
  const fetchIt = (server: HubServer, more: Partial<FetchOptions> = {}) =>
    fetchTokenizer(optionsFor(server, more), () => {})
  const target = () => join(folder, 'tokenizers', 'Qwen3-32B')
  const found = () =>
    Object.fromEntries(
      readdirSync(target()).map((name) => [name, readFileSync(join(target(), name), 'utf8')]),
    )
  /** No temporary folder is left, and no folder of the model has been made. */
  const assertNothing = () => assert.deepEqual(readdirSync(join(folder, 'tokenizers')), [])

  it("follows Hugging Face's layout", async () => {
    const hub = await serve('127.0.0.2', hubAt(HUGGING_FACE))
    const progress: (readonly [string, number, number | undefined])[] = []
    const fetched = await fetchTokenizer(optionsFor(hub), (...args) => progress.push(args))
    assert.deepEqual(fetched, ['tokenizer_config.json', 'tokenizer.json'])
    assert.deepEqual(found(), files)
    assert.deepEqual(hub.paths, [
      `${HUGGING_FACE}/chat_template.jinja`,
      `${HUGGING_FACE}/tokenizer_config.json`,
      `${HUGGING_FACE}/tokenizer.json`,
    ])
    assert.deepEqual(readdirSync(join(folder, 'tokenizers')), ['Qwen3-32B'])
    const bytes = Buffer.byteLength(files['tokenizer.json']!)
    assert.deepEqual(progress.at(-1), ['tokenizer.json', bytes, bytes])
  })

  it("follows ModelScope's layout, with its token, a revision and a chat template", async () => {
    const template = '{% for m in messages %}{{ m.content }}{% endfor %}'
    const base = `/models/${MODEL}/resolve/v1%2Fx`
    const hub = await serve('127.0.0.2', (path, ...rest) =>
      path.endsWith('.jinja') ? [200, template] : hubAt(base)(path, ...rest),
    )
    await fetchIt(hub, { hub: 'modelscope', revision: 'v1/x', token: 'ms-secret' })
    assert.deepEqual(found(), { ...files, 'chat_template.jinja': template })
    for (const { authorization, cookie } of hub.seen) {
      assert.deepEqual([authorization, cookie], ['Bearer ms-secret', 'm_session_id=ms-secret'])
    }
    const plain = await serve('127.0.0.3', hubAt(`/models/${MODEL}/resolve/master`))
    await fetchIt(plain, { hub: 'modelscope', folder: 'other' })
    assert.equal(plain.seen[0]?.authorization, undefined)
  })

  it('follows redirects, and shows the token to the hub alone', async () => {
    const storage = await serve('127.0.0.3', (path) => {
      return [200, files[path.slice(1).split('?')[0]!]!]
    })
    const hub = await serve('127.0.0.2', (path) => {
      const name = path.split('/').at(-1)!
      if (path.startsWith('/moved/')) return [302, '', { location: `${storage.url}/${name}?sig=1` }]
      if (!(name in files)) return [404, '']
      return [307, '', { location: `/moved/${name}` }]
    })
    for (const [name, more] of [
      ['huggingface', { token: 'hf-secret' }],
      ['modelscope', { token: 'ms-secret', hub: 'modelscope', folder: 'b' }],
    ] as const) {
      await fetchIt(hub, more)
      assert.ok(
        hub.seen.every(({ authorization }) => authorization === `Bearer ${more.token}`),
        name,
      )
      hub.seen.length = 0
    }
    assert.deepEqual(found(), files)
    assert.equal(storage.seen.length, 4)
    for (const { authorization, cookie } of storage.seen) {
      assert.deepEqual([authorization, cookie], [undefined, undefined])
    }
  })

  it('asks again after a transient failure, and goes on where an answer broke off', async () => {
    const text = files['tokenizer.json']!
    let refusals = 2
    let broken = false
    const ranges: (string | undefined)[] = []
    const hub = await serve('127.0.0.2', (path, request, response) => {
      if (refusals-- > 0) return [503, 'later']
      if (!path.endsWith('/tokenizer.json')) return hubAt(HUGGING_FACE)(path, request, response)
      ranges.push(request.headers.range)
      if (!broken) {
        broken = true
        response.writeHead(200, { 'content-length': Buffer.byteLength(text), etag: '"1"' })
        response.write(Buffer.from(text).subarray(0, 1000), () => response.destroy())
        return undefined
      }
      const [, from] = /^bytes=(\d+)-/.exec(request.headers.range!)!
      const bytes = Buffer.from(text)
      const rest = bytes.subarray(Number(from)).toString('latin1')
      response.writeHead(206, {
        'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
        'content-length': bytes.length - Number(from),
        etag: '"1"',
      })
      response.end(rest, 'latin1')
      return undefined
    })
    await fetchIt(hub)
    assert.deepEqual(found(), files)
    assert.equal(ranges.length, 2)
    assert.equal(ranges[0], undefined)
    assert.match(ranges[1]!, /^bytes=\d+-/)
  })

  for (const [what, status, more, message] of [
    ['no token', 401, {}, /answers 401: the model does not exist, is private or is gated; set HF_/],
    ['a wrong token', 401, { token: 'hf-secret' }, /the token in HF_TOKEN is not accepted/],
    [
      'no ModelScope token',
      401,
      { hub: 'modelscope' },
      /set MODELSCOPE_API_TOKEN to a token that may read it/,
    ],
    ['a gated model', 403, { token: 'hf-secret' }, /answers 403: .* ask for access/],
    ['another status', 418, {}, /answers 418: check --hub-url/],
    ['a hub that is down', 502, {}, /answers 502, also when asked again/],
  ] as const) {
    it(`says what to do about ${what}`, async () => {
      const hub = await serve('127.0.0.2', () => [status, 'hf-secret'])
      await assert.rejects(fetchIt(hub, more), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'START_FAILED')
        assert.match(error.message, message)
        assert.ok(error.message.startsWith(`${hub.url}/`))
        assert.ok(!error.message.includes('secret'))
        return true
      })
      assertNothing()
    })
  }

  it('says which URL has no tokenizer.json', async () => {
    const hub = await serve('127.0.0.2', (path) =>
      path.endsWith('tokenizer.json') ? [404, ''] : [200, '{}'],
    )
    await assert.rejects(fetchIt(hub), {
      message: `${hub.url}${HUGGING_FACE}/tokenizer.json answers 404: there is no such model, revision or file; check --model and --revision, or leave its tokens to the engines`,
    })
    assertNothing()
  })

  for (const [what, name, text] of [
    ['HTML instead of a tokenizer', 'tokenizer.json', '<html>'],
    ['JSON that is no tokenizer', 'tokenizer.json', '{"a":1}'],
    ['a config that is not JSON', 'tokenizer_config.json', '<html>'],
    ['a template that does not parse', 'chat_template.jinja', '{% for %}'],
  ] as const) {
    it(`keeps nothing of ${what}`, async () => {
      const hub = await serve('127.0.0.2', (path, ...rest) =>
        path.endsWith(`/${name}`) ? [200, text] : hubAt(HUGGING_FACE)(path, ...rest),
      )
      await assert.rejects(fetchIt(hub), /is no tokenizer that can be used: /)
      assertNothing()
    })
  }

  it('replaces a tokenizer file by file, and leaves it alone when the new one is no good', async () => {
    const hub = await serve('127.0.0.2', hubAt(HUGGING_FACE))
    mkdirSync(target(), { recursive: true })
    writeFileSync(join(target(), 'tokenizer.json'), 'old')
    writeFileSync(join(target(), 'chat_template.jinja'), 'old')
    assert.equal(await isFetched(optionsFor(hub)), true)
    hub.answers = () => [200, 'bad']
    await assert.rejects(fetchIt(hub))
    assert.deepEqual(found(), { 'tokenizer.json': 'old', 'chat_template.jinja': 'old' })
    hub.answers = hubAt(HUGGING_FACE)
    await fetchIt(hub)
    assert.deepEqual(found(), files)
  })

  it('fetches the same model twice at a time', async () => {
    const hub = await serve('127.0.0.2', hubAt(HUGGING_FACE))
    await Promise.all([fetchIt(hub), fetchIt(hub)])
    assert.deepEqual(found(), files)
    assert.deepEqual(readdirSync(join(folder, 'tokenizers')), ['Qwen3-32B'])
  })

  it('says what is wrong with the folder', async () => {
    const hub = await serve('127.0.0.2', hubAt(HUGGING_FACE))
    writeFileSync(join(folder, 'file'), '')
    const tokenizersDir = join(folder, 'file')
    assert.equal(await isFetched(optionsFor(hub, { tokenizersDir })), false)
    await assert.rejects(
      fetchIt(hub, { tokenizersDir }),
      /cannot write to .*file: .*; --tokenizers-dir must name a writable folder/,
    )
    assert.equal(hub.seen.length, 0)
  })
})
