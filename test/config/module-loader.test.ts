import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

const SCORER = `import { definePlugin, PREFIX_INDEX, Type } from 'endpoint-picker/plugin'
import { endpoint } from 'endpoint-picker/testing'
import { half } from './half.ts'

enum Side { Left = 1 }

const scorer = definePlugin({
  kind: 'scorer',
  type: 'half-scorer',
  description: 'Scores every endpoint one half.',
  params: Type.Object({ side: Type.Integer({ default: Side.Left, minimum: 1, description: 'Which.' }) }),
  inject: { index: PREFIX_INDEX },
  create: (_params: { side: number }) => ({ score: (_request, endpoints) => endpoints.map(half) }),
})
export default { ...scorer, kit: endpoint }
`
const plugin = (fields: string) =>
  `export default { kind: 'scorer', type: 'my-scorer', description: 'Mine.', aliases: [],
    params: { type: 'object', properties: {} }, create: () => ({ score: () => [] }), ${fields} }\n`

describe('ModuleLoader', () => {
  let folder: string
  let file: string
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
  /** In a process of its own: mocha's loader keeps copies of the modules, which a program does not. */
  const inProcess = (name: string): unknown => {
    const script = 'test/config/print-module.ts'
    const run = spawnSync(process.execPath, ['--import', 'tsx', script, file, name], {
      encoding: 'utf8',
      timeout: 15_000,
    })
    assert.equal(run.status, 0, run.stderr)
    return JSON.parse(run.stdout)
  }
  const load = (...names: string[]) => new ModuleLoader(builtinPlugins).load(names, file)
  const complaint = async (name: string) => {
    const { plugins, problems } = await load(name)
    assert.deepEqual(plugins, [])
    assert.equal(problems.length, 1)
    assert.equal(problems[0]?.severity, 'error')
    return problems[0]?.message.replaceAll(folder, '.')
  }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-modules-'))
    file = join(folder, 'config.yaml')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('loads TypeScript from a folder that holds nothing else, with the very tokens of this program', () => {
    write('half.ts', "export { half } from './number.ts'\n")
    write('number.ts', 'export const half = (_: unknown): number => 0.5\n')
    write('scorer.ts', SCORER)
    assert.deepEqual(inProcess('./scorer.ts'), [
      { type: 'half-scorer', sameToken: true, sameKit: true, params: { side: 1 } },
    ])
  })

  it('loads a package that the folder of the file sees, even one for import only', () => {
    const home = join(folder, 'node_modules', '@acme', 'zone')
    mkdirSync(home, { recursive: true })
    const manifest = { name: '@acme/zone', type: 'module', exports: { import: './main.js' } }
    writeFileSync(join(home, 'package.json'), JSON.stringify(manifest))
    const code = plugin("type: 'zone-scorer', inject: { index: PREFIX_INDEX }, kit: endpoint")
    writeFileSync(
      join(home, 'main.js'),
      `import { PREFIX_INDEX } from 'endpoint-picker/plugin'
       import { endpoint } from 'endpoint-picker/testing'
       ${code.replace('export default', 'const zone =')}
       export default [zone]`,
    )
    assert.deepEqual(inProcess('@acme/zone'), [
      { type: 'zone-scorer', sameToken: true, sameKit: true, params: {} },
    ])
  })

  it('fills in what an export without definePlugin leaves out', async () => {
    write('plain.mjs', plugin('aliases: undefined'))
    const { plugins } = await load('./plain.mjs')
    assert.deepEqual(plugins[0]?.needs, [])
    assert.deepEqual(plugins[0]?.aliases, [])
  })

  const wrong: readonly (readonly [string, string, string])[] = [
    [
      'no default export',
      'export const scorer = 1\n',
      'has no default export; write "export default definePlugin({ … })"',
    ],
    [
      'a function',
      'export default () => 1\n',
      'the default export must be a plugin or an array of plugins, got () => 1',
    ],
    [
      'an unknown kind',
      plugin("kind: 'scorrer'"),
      'unknown kind "scorrer" of "my-scorer"; did you mean "scorer"?',
    ],
    [
      'a type in camel case',
      plugin("type: 'myScorer'"),
      'type must be lower-case words joined by hyphens, got "myScorer"',
    ],
    [
      'no description',
      plugin("description: ''"),
      '"my-scorer" has no description; write one sentence',
    ],
    [
      'aliases that are none',
      plugin("aliases: 'old'"),
      'the aliases of "my-scorer" must be a list of strings',
    ],
    [
      'params that are a string',
      plugin("params: { type: 'string' }"),
      'params of "my-scorer" must be an object schema; write Type.Object({ … })',
    ],
    [
      'params that are no schema',
      plugin("params: { type: 'object', properties: { a: { type: 'text' } } }"),
      'params of "my-scorer" are no valid JSON Schema: ',
    ],
    [
      'no create',
      plugin('create: undefined'),
      'create of "my-scorer" must be a function, got undefined',
    ],
    [
      'the type of a built-in plugin',
      plugin("type: 'queue-scorer'"),
      'the type "queue-scorer" exists already; choose another name',
    ],
    [
      'an alias of a built-in plugin',
      plugin("aliases: ['queue-depth-scorer']"),
      'the type "queue-depth-scorer" exists already; choose another name',
    ],
  ]
  for (const [index, [what, text, said]] of wrong.entries()) {
    it(`names what is wrong: ${what}`, async () => {
      write(`wrong-${index}.mjs`, text)
      const message = await complaint(`./wrong-${index}.mjs`)
      assert.ok(message?.includes(said), message)
      assert.ok(message?.startsWith(`"./wrong-${index}.mjs"`), message)
    })
  }

  it('names what does not load, with the reason', async () => {
    write('throws.mjs', "throw new Error('no licence key')\n")
    write('syntax.ts', 'export default {\n  kind: = 1\n}\n')
    write('lost.ts', "import { a } from './nowhere.ts'\nexport default a\n")
    assert.equal(await complaint('./absent.ts'), '"./absent.ts" cannot be read at ./absent.ts')
    assert.equal(await complaint('./throws.mjs'), '"./throws.mjs" does not load: no licence key')
    assert.match(
      (await complaint('./syntax.ts'))!,
      /^"\.\/syntax\.ts" does not load: .*syntax\.ts:2:8.* "="/,
    )
    assert.match((await complaint('./lost.ts'))!, /^"\.\/lost\.ts" does not load: .*nowhere\.ts/)
    assert.match(
      (await complaint('absent.ts'))!,
      /"absent\.ts" does not load: .*; a file is "\.\/absent\.ts"$/,
    )
  })

  it('takes no URLs and no module twice', async () => {
    write('a.mjs', plugin(''))
    for (const url of [
      'https://example.com/a.js',
      'data:text/javascript,1',
      'file:///a.js',
      'node:fs',
    ]) {
      assert.match(
        (await complaint(url))!,
        /must be a path, such as "\.\/my-scorer\.ts", or a package name$/,
      )
    }
    const { plugins, problems } = await load('./a.mjs', './a.mjs')
    assert.equal(plugins.length, 1)
    assert.deepEqual(problems, [
      { index: 1, severity: 'error', message: '"./a.mjs" is listed twice; remove one' },
    ])
  })

  it('tells two modules with one type apart', async () => {
    write('a.mjs', plugin(''))
    write('b.mjs', plugin(''))
    const { problems } = await load('./a.mjs', './b.mjs')
    assert.deepEqual(
      problems.map(({ index }) => index),
      [1],
    )
  })

  it('loads once, and says when the code has changed since', async () => {
    const loader = new ModuleLoader(builtinPlugins)
    write('a.ts', plugin(''))
    const first = await loader.load(['./a.ts'], file)
    assert.deepEqual(await loader.load(['./a.ts'], file), first)
    write('a.ts', plugin("description: 'Another.'"))
    const { plugins, problems } = await loader.load(['./a.ts'], file)
    assert.deepEqual(plugins, first.plugins)
    assert.deepEqual(problems, [
      {
        index: 0,
        severity: 'warning',
        message: '"./a.ts" has changed since it was loaded; restart to run the new code',
      },
    ])
  })

  it('tries a module that failed again when its file is another', async () => {
    const loader = new ModuleLoader(builtinPlugins)
    write('late.ts', 'export default = 1\n')
    assert.equal((await loader.load(['./late.ts'], file)).problems.length, 1)
    assert.equal((await loader.load(['./late.ts'], file)).problems.length, 1)
    write('late.ts', plugin(''))
    const { plugins, problems } = await loader.load(['./late.ts'], file)
    assert.deepEqual(problems, [])
    assert.equal(plugins[0]?.type, 'my-scorer')
  })
})
