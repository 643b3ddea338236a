import assert from 'node:assert/strict'
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { FileWatch, type FileWatchOptions } from '../../src/config/file-watch.ts'

/** No poll: what is seen was told by the file system. */
const EVENTS_ONLY = { pollMs: 3_600_000, debounceMs: 5 }
/** Fast polls, where no event may come. */
const POLLING = { pollMs: 10, debounceMs: 1 }

describe('FileWatch', () => {
  let folder: string
  let path: string
  let watch: FileWatch | undefined
  let seen: string[]

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-watch-'))
    path = join(folder, 'config.yaml')
    seen = []
  })
  afterEach(() => {
    watch?.close()
    rmSync(folder, { recursive: true })
  })

  const begin = (options: FileWatchOptions) => {
    watch = new FileWatch(
      path,
      { changed: (text) => seen.push(text), lost: (reason) => seen.push(`lost: ${reason}`) },
      options,
    )
  }
  async function until(expected: readonly string[]): Promise<void> {
    for (const end = Date.now() + 5000; Date.now() < end && seen.length < expected.length; ) {
      await delay(2)
    }
    assert.deepEqual(seen, expected)
  }

  it('tells of an edit in place, once for equal content', async () => {
    writeFileSync(path, 'one')
    begin({ ...EVENTS_ONLY })
    await until(['one'])
    writeFileSync(path, 'two')
    await until(['one', 'two'])
    writeFileSync(path, 'two')
    writeFileSync(join(folder, 'other'), 'x')
    writeFileSync(path, 'three')
    await until(['one', 'two', 'three'])
  })

  it('does not tell of what the caller has read already', async () => {
    writeFileSync(path, 'one')
    begin({ ...POLLING, initial: 'one' })
    writeFileSync(path, 'two')
    await until(['two'])
  })

  it('follows a file that is replaced by renaming, again and again', async () => {
    writeFileSync(path, '0')
    begin(EVENTS_ONLY)
    await until(['0'])
    const expected = ['0']
    for (const text of ['1', '2', '3']) {
      writeFileSync(`${path}.tmp`, text)
      renameSync(`${path}.tmp`, path)
      expected.push(text)
      await until(expected)
    }
  })

  it('follows the symlink swaps of a mounted ConfigMap', async () => {
    const version = (name: string, text: string) => {
      mkdirSync(join(folder, name))
      writeFileSync(join(folder, name, 'config.yaml'), text)
    }
    version('..v1', 'one')
    symlinkSync('..v1', join(folder, '..data'))
    symlinkSync('..data/config.yaml', path)
    begin(EVENTS_ONLY)
    await until(['one'])
    const expected = ['one']
    for (const name of ['..v2', '..v3']) {
      version(name, name)
      symlinkSync(name, join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
      expected.push(name)
      await until(expected)
    }
  })

  it('sees an edit of the file that a link in another folder leads to', async () => {
    mkdirSync(join(folder, 'elsewhere'))
    const target = join(folder, 'elsewhere', 'real.yaml')
    writeFileSync(target, 'one')
    symlinkSync(target, path)
    begin(EVENTS_ONLY)
    await until(['one'])
    writeFileSync(target, 'two')
    await until(['one', 'two'])
  })

  it('says once that the file is gone, and tells of its return even with the same text', async () => {
    writeFileSync(path, 'one')
    begin(POLLING)
    await until(['one'])
    unlinkSync(path)
    const lost = `lost: ENOENT: no such file or directory, open '${path}'`
    await until(['one', lost])
    await delay(50)
    writeFileSync(path, 'one')
    await until(['one', lost, 'one'])
  })

  it('finds the file again when its whole folder was replaced', async () => {
    const inner = join(folder, 'mount')
    path = join(inner, 'config.yaml')
    mkdirSync(inner)
    writeFileSync(path, 'one')
    begin(POLLING)
    await until(['one'])
    rmSync(inner, { recursive: true })
    await until(['one', `lost: ENOENT: no such file or directory, open '${path}'`])
    mkdirSync(inner)
    writeFileSync(path, 'two')
    for (const end = Date.now() + 5000; Date.now() < end && seen.at(-1) !== 'two'; ) await delay(2)
    assert.equal(seen.at(-1), 'two')
  })

  it('does not read a file that is too large or no text', async () => {
    writeFileSync(path, 'x'.repeat(101))
    begin({ ...POLLING, maxBytes: 100 })
    await until([`lost: ${path} has 101 bytes, more than the 100 allowed`])
    writeFileSync(path, 'x')
    await until([seen[0]!, 'x'])
    writeFileSync(path, Buffer.from([0xff, 0xfe, 0xfd]))
    await until([seen[0]!, 'x', 'lost: The encoded data was not valid for encoding utf-8'])
  })

  it('is silent after close', async () => {
    writeFileSync(path, 'one')
    begin(POLLING)
    await until(['one'])
    watch?.close()
    writeFileSync(path, 'two')
    await delay(40)
    assert.deepEqual(seen, ['one'])
  })
})
