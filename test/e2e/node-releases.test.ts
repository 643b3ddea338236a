import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'

/** Sockets, HTTP/2, native modules, regular expressions of a Unicode version: where releases of Node differ. */
const FILES = [
  'test/gateway/limits.test.ts',
  'test/gateway/streams.test.ts',
  'test/extproc/server.test.ts',
  'test/kvcache/events/zmq-intake.test.ts',
  'test/tokenize/reference/tokenizers.test.ts',
]

/** Ours runs everything else. */
const OTHERS = ['22', '24'].filter(
  (release) => !process.version.startsWith(`v${release}.`) && process.platform === 'linux',
)

function isInstalled(node: string): boolean {
  if (existsSync(node)) return true
  if (process.env.CI && process.arch === 'x64') {
    throw new Error(`${node} is missing; run scripts/install-nodes.sh`)
  }
  console.log(`      SKIPPED: ${node} is missing; run scripts/install-nodes.sh`)
  return false
}

function output(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (part: string) => (text += part))
    }
    child.once('error', reject)
    child.once('close', () => resolve(text))
  })
}

describe('other releases of Node', function () {
  this.timeout(300_000)
  for (const release of OTHERS) {
    it(`runs on Node ${release}`, async function () {
      const node = `.cache/node-${release}/node`
      if (!isInstalled(node)) return this.skip()
      assert.match(await output(node, ['--version']), new RegExp(`^v${release}\\.`))
      const mocha = 'node_modules/mocha/lib/cli/cli.js'
      const said = await output(node, ['--import', 'tsx', mocha, ...FILES])
      assert.match(said, /^[1-9]\d+ passed, 0 failed$/m, said.slice(-8000))
    })
  }
})
