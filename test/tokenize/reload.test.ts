import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cancellation } from '../../src/framework/cancellation.ts'
import { PromptTokenizer } from '../../src/tokenize/prompt-tokenizer.ts'
import { byteTokenizersDir } from './fixtures.ts'
import { clock, memoryLogger, memoryMetrics, memoryNotices, requestFor } from './services.ts'

const never = new Cancellation()
/** More than is encoded on the event loop. */
const LONG = 'ab'.repeat(4000)

describe('PromptTokenizer.configure, while it runs', () => {
  const directory = byteTokenizersDir('one', 'two')
  const logger = memoryLogger()
  let tokenizer: PromptTokenizer

  /** Exchanges the ids of two bytes in a folder's vocabulary. */
  const exchange = (folder: string, a: string, b: string) => {
    const path = join(directory, folder, 'tokenizer.json')
    const file = JSON.parse(readFileSync(path, 'utf8')) as {
      model: { vocab: Record<string, number> }
    }
    const { vocab } = file.model
    const [idOfA, idOfB] = [vocab[a]!, vocab[b]!]
    vocab[a] = idOfB
    vocab[b] = idOfA
    // Another size, where the clock of the file system is coarse.
    writeFileSync(path, `${JSON.stringify(file)}\n`)
  }
  const configure = (folders: Readonly<Record<string, string>>) =>
    tokenizer.configure({ folders, fallbackModel: undefined, engineUrl: undefined })
  const idsOf = async (text: string) => {
    const request = requestFor('m', { kind: 'text', texts: [text] })
    const { prompts, exact } = await tokenizer.tokenize(request, never)
    return { ids: [...prompts[0]!].slice(0, 2), exact }
  }
  const loads = () => logger.lines.filter((line) => line.startsWith('tokenizer loaded'))

  before(() => {
    exchange('two', 'a', 'c')
    tokenizer = new PromptTokenizer({
      tokenizersDir: directory,
      models: { baseOf: () => undefined },
      clock,
      logger,
      metrics: memoryMetrics(),
      notices: memoryNotices(),
      threads: 1,
      budgetMs: 30_000,
    })
  })
  after(async () => {
    await tokenizer.close()
    rmSync(directory, { recursive: true })
  })

  for (const [where, text] of [
    ['on the event loop', 'ab'],
    ['in a thread', LONG],
  ] as const) {
    it(`takes another folder for a model, ${where}`, async () => {
      configure({ m: 'one' })
      assert.deepEqual(await idsOf(text), { ids: [97, 98], exact: true })
      configure({ m: 'two' })
      assert.deepEqual(await idsOf(text), { ids: [99, 98], exact: true })
      configure({ m: 'one' })
      assert.deepEqual(await idsOf(text), { ids: [97, 98], exact: true })
    })
  }

  it('has loaded each folder once, since its directory still shows both', () => {
    assert.equal(loads().length, 2)
  })

  for (const [where, text, ids] of [
    ['on the event loop', 'ab', [98, 97]],
    ['in a thread', LONG, [97, 98]],
  ] as const) {
    it(`takes changed files of a folder, ${where}`, async () => {
      exchange('one', 'a', 'b')
      configure({ m: 'one' })
      assert.deepEqual(await idsOf(text), { ids, exact: true })
    })
  }

  it('says so where a folder has gone, and takes it back', async () => {
    configure({ m: 'three' })
    assert.equal((await idsOf('ab')).exact, false)
    configure({ m: 'one' })
    assert.equal((await idsOf('ab')).exact, true)
  })
})
