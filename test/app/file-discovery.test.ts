import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { App, type ServeOptions } from '../../src/app.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import { defaultOptions } from '../integration/options.ts'

describe('file-discovery', () => {
  let folder: string
  let file: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-file-discovery-'))
    file = join(folder, 'endpoints.yaml')
    writeFileSync(file, 'endpoints: [{ name: a, address: 127.0.1.1, port: "9" }]')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  /** The address to which a request goes. */
  async function goesTo(options: Partial<ServeOptions>): Promise<string> {
    const configText = JSON.stringify({
      plugins: [{ type: 'file-discovery', parameters: { path: file } }, { type: 'queue-scorer' }],
      dataLayer: { discovery: { pluginRef: 'file-discovery' } },
    })
    const app = await App.start({ ...defaultOptions(), configText, ...options })
    try {
      const { destination } = await app.router.route(
        {
          headers: new Map([[':path', '/v1/completions']]),
          body: [Buffer.from('{"model":"m","prompt":"hello"}')],
          subset: undefined,
        },
        new Cancellation(),
      )
      return destination
    } finally {
      await app.close()
    }
  }

  it('names the endpoints', async () => assert.equal(await goesTo({}), '127.0.1.1:9'))

  it('yields to endpoints of flags, and says so', async () => {
    const lines: string[] = []
    const log = { logLevel: 'warn', write: (line: string) => lines.push(line) } as const
    assert.equal(await goesTo({ ...log, endpoints: ['b=127.0.1.2:9'] }), '127.0.1.2:9')
    const said = lines.filter((line) => line.includes('file-discovery has no effect'))
    assert.equal(said.length, 1, lines.join(''))
    assert.ok(said[0]!.includes(file))
  })

  it('yields to a file of flags', async () => {
    const endpointsFile = join(folder, 'others.yaml')
    writeFileSync(endpointsFile, 'endpoints: [{ name: c, address: 127.0.1.3, port: "9" }]')
    assert.equal(await goesTo({ endpointsFile }), '127.0.1.3:9')
  })

  it('keeps the picker from starting when it cannot be read', async () => {
    rmSync(file)
    await assert.rejects(goesTo({}), { code: 'CONFIG_INVALID' })
  })
})
