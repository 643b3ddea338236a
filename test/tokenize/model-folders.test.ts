import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ModelFolders } from '../../src/tokenize/model-folders.ts'
import { byteTokenizersDir } from './fixtures.ts'
import { memoryLogger } from './services.ts'

describe('ModelFolders', () => {
  const directories: string[] = []
  after(() => {
    for (const directory of directories) rmSync(directory, { recursive: true })
  })
  let nowMs = 0
  const clock = { nowMs: () => nowMs, epochMs: () => 0 }
  const baseOf = (model: string): string | undefined =>
    model === 'sql-lora' ? 'Qwen3-32B' : undefined

  const over = (
    ...names: string[]
  ): { directory: string; folders: ModelFolders; lines: string[] } => {
    const directory = byteTokenizersDir(...names)
    directories.push(directory)
    const logger = memoryLogger()
    return {
      directory,
      folders: new ModelFolders(directory, { baseOf }, clock, logger),
      lines: logger.lines,
    }
  }

  it('finds the folder of the served name, with / as --', () => {
    const { directory, folders } = over('Qwen3-32B', 'Qwen--Qwen3-8B')
    assert.equal(folders.find('Qwen3-32B'), join(directory, 'Qwen3-32B'))
    assert.equal(folders.find('Qwen/Qwen3-8B'), join(directory, 'Qwen--Qwen3-8B'))
  })

  it('takes an adapter’s base model', () => {
    const { directory, folders } = over('Qwen3-32B', 'other')
    assert.equal(folders.find('sql-lora'), join(directory, 'Qwen3-32B'))
  })

  it('follows the configuration first, then the fallback model, then the name', () => {
    const { directory, folders } = over('a', 'b', 'served')
    folders.configure({ served: 'a' }, 'b')
    assert.equal(folders.find('served'), join(directory, 'a'))
    assert.equal(folders.find('unknown'), join(directory, 'b'))
    folders.configure({}, 'missing')
    assert.equal(folders.find('served'), join(directory, 'served'))
  })

  it('follows the configuration of the base model for an adapter', () => {
    const { directory, folders } = over('a', 'b')
    folders.configure({ 'Qwen3-32B': 'a' }, undefined)
    assert.equal(folders.find('sql-lora'), join(directory, 'a'))
  })

  it('takes the only folder there is, and says so once', () => {
    const { directory, folders, lines } = over('one')
    assert.equal(folders.find('anything'), join(directory, 'one'))
    assert.equal(folders.find('something'), join(directory, 'one'))
    assert.equal(lines.length, 1)
  })

  it('takes a directory that is a model’s folder itself', () => {
    const { directory, folders } = over('one')
    const inside = new ModelFolders(join(directory, 'one'), { baseOf }, clock, memoryLogger())
    assert.equal(inside.find('anything'), join(directory, 'one'))
    assert.equal(folders.all().length, 1)
  })

  it('has none for an unknown model among several', () => {
    const { directory, folders } = over('a', 'b')
    assert.deepEqual(folders.find('c'), {
      code: 'no-tokenizer',
      text: `no folder of ${directory} belongs to the model; name it in "tokenizers" of the configuration`,
    })
  })

  it('says when a configured folder has no tokenizer', () => {
    const { directory, folders } = over('a')
    folders.configure({ m: 'typo' }, undefined)
    assert.deepEqual(folders.find('m'), {
      code: 'no-tokenizer',
      text: `${join(directory, 'typo')} is configured as tokenizer but has no tokenizer.json`,
    })
  })

  for (const model of ['..', '.', '../a', '/etc', 'constructor', '__proto__']) {
    it(`never leaves the directory for a model called ${model}`, () => {
      const { folders } = over('a', 'b')
      assert.ok(typeof folders.find(model) !== 'string')
    })
  }

  it('sees a folder that is mounted later, looking every ten seconds', () => {
    const { directory, folders } = over('a', 'b')
    assert.ok(typeof folders.find('late') !== 'string')
    mkdirSync(join(directory, 'late'))
    writeFileSync(join(directory, 'late', 'tokenizer.json'), '{}')
    nowMs += 9999
    assert.ok(typeof folders.find('late') !== 'string')
    nowMs += 1
    assert.equal(folders.find('late'), join(directory, 'late'))
  })

  it('has none without a directory, or with one that cannot be read', () => {
    const none = new ModelFolders(undefined, { baseOf }, clock, memoryLogger())
    assert.ok(typeof none.find('m') !== 'string')
    const logger = memoryLogger()
    const missing = new ModelFolders('/nowhere/at/all', { baseOf }, clock, logger)
    assert.ok(typeof missing.find('m') !== 'string')
    assert.deepEqual(missing.all(), [])
    assert.match(logger.lines[0]!, /the tokenizers directory cannot be read/)
  })
})
