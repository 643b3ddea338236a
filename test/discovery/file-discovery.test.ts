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
import { readDocument } from '../../src/config/document.ts'
import { FileWatch, readText } from '../../src/config/file-watch.ts'
import { EndpointStore } from '../../src/datalayer/endpoint-store.ts'
import { FileDiscovery } from '../../src/discovery/file-discovery.ts'
import { telemetry, until } from '../datalayer/telemetry.ts'

const text = (...ports: number[]) =>
  `endpoints:\n${ports.map((port) => `  - { name: s${port}, address: 127.0.0.9, port: ${port} }\n`).join('')}`

describe('FileDiscovery', () => {
  let folder: string
  let path: string
  let discovery: FileDiscovery | undefined

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-endpoints-'))
    path = join(folder, 'endpoints.yaml')
  })
  afterEach(() => {
    discovery?.stop()
    discovery = undefined
    rmSync(folder, { recursive: true })
  })

  const make = () => {
    const services = telemetry()
    const store = new EndpointStore(services)
    discovery = new FileDiscovery(path, {
      ...services,
      sink: store,
      readDocument,
      readText: (file) => readText(file, 1024 * 1024),
      watchFile: (file, listener, options) =>
        new FileWatch(file, listener, { ...options, debounceMs: 5, pollMs: 20 }),
    })
    const ports = () => store.list().map(({ port }) => port)
    return { ...services, store, ports, start: () => discovery!.start() }
  }

  it('states the endpoints at once, and follows additions and removals', async () => {
    writeFileSync(path, text(1, 2))
    const { start, ports, value, store, lines } = make()
    await start()
    assert.deepEqual(ports(), [1, 2])
    const kept = store.list()[1]
    writeFileSync(path, text(2, 3))
    await until('the new set', () => ports().join() === '2,3')
    assert.equal(store.list()[0], kept, 'the one that stays is the same')
    assert.equal(await value('epp_endpoints_file_loads_total{result="ok"}'), 2)
    assert.match(lines.at(-1)!, /endpoints file loaded/)
  })

  it('fails at start with every problem, or when there is no file', async () => {
    const { start } = make()
    await assert.rejects(start(), {
      code: 'CONFIG_INVALID',
      message: `the endpoints file cannot be read: ENOENT: no such file or directory, open '${path}'`,
    })
    writeFileSync(path, `${text(0)}  - { name: x }\n`)
    await assert.rejects(start(), {
      code: 'CONFIG_INVALID',
      message:
        `${path}:2:43  endpoints[0].port: must be a port from 1 to 65535, got 0\n` +
        `${path}:3:5  endpoints[1]: "address" is missing\n${path}:3:5  endpoints[1]: "port" is missing`,
    })
    writeFileSync(path, `# ${'x'.repeat(1024 * 1024)}`)
    await assert.rejects(start(), /more than the 1048576 allowed/)
  })

  it('keeps the last good set when a bad file comes, and says so until a good one comes', async () => {
    writeFileSync(path, text(1))
    const { start, ports, value, notices, lines } = make()
    await start()
    writeFileSync(path, `${text(2)}  - { name: x }\n`)
    await until('the notice', () => notices.list().length === 1)
    assert.equal(
      notices.list()[0]?.text,
      `the endpoints file is not taken, the last 1 endpoints stay: ${path}:3:5  endpoints[1]: "address" is missing ` +
        '(and 1 more)',
    )
    assert.deepEqual(ports(), [1])
    assert.equal(await value('epp_endpoints_file_loads_total{result="invalid"}'), 1)
    assert.match(lines[0]!, /endpoints file not taken/)
    writeFileSync(path, text(3))
    await until('the good file', () => ports().join() === '3')
    assert.deepEqual(notices.list(), [])
  })

  it('keeps the last good set when the file vanishes', async () => {
    writeFileSync(path, text(1))
    const { start, ports, value, notices } = make()
    await start()
    unlinkSync(path)
    await until('the notice', () => notices.list().length === 1)
    assert.match(notices.list()[0]!.text, /^the endpoints file is not taken, .* stay: ENOENT/)
    assert.deepEqual(ports(), [1])
    assert.equal(await value('epp_endpoints_file_loads_total{result="unreadable"}'), 1)
    writeFileSync(path, text(1))
    await until('the end of the notice', () => notices.list().length === 0)
    assert.deepEqual(ports(), [1])
  })

  it('survives atomic replacement and the symlink swaps of a ConfigMap', async () => {
    const version = (name: string, ...ports: number[]) => {
      mkdirSync(join(folder, name))
      writeFileSync(join(folder, name, 'endpoints.yaml'), text(...ports))
      symlinkSync(name, join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    }
    version('..1', 1)
    symlinkSync('..data/endpoints.yaml', path)
    const { start, ports } = make()
    await start()
    for (const port of [2, 3, 4]) {
      version(`..${port}`, port)
      await until(`version ${port}`, () => ports().join() === String(port))
    }
    writeFileSync(`${path}.new`, text(5, 6))
    renameSync(`${path}.new`, path)
    await until('the plain file', () => ports().join() === '5,6')
  })

  it('takes an empty list for an empty pool', async () => {
    writeFileSync(path, text(1))
    const { start, ports } = make()
    await start()
    writeFileSync(path, 'endpoints: []\n')
    await until('no endpoint', () => ports().length === 0)
  })

  it('says unknown fields once', async () => {
    writeFileSync(path, `colour: red\n${text(1)}`)
    const { start, ports, lines } = make()
    await start()
    writeFileSync(path, `colour: red\n${text(2)}`)
    await until('the change', () => ports().join() === '2')
    assert.equal(lines.filter((line) => line.includes('unknown field')).length, 1)
  })
})
