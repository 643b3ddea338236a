import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import type { Step, StepResult } from './reload-modules.ts'

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

  it('loads a module once, as long as its code is the same', async () => {
    const loader = new ModuleLoader(builtinPlugins)
    write('a.ts', plugin(''))
    const first = await loader.load(['./a.ts'], file)
    const second = await loader.load(['./a.ts'], file)
    assert.equal(first.plugins[0]?.create, second.plugins[0]?.create)
  })

  describe('given changed code', function () {
    this.timeout(60_000)
    /** Takes each step in a process of its own. */
    const steps = (...all: readonly Step[]): readonly StepResult[] => {
      const args = ['test/config/reload-modules.ts', folder, JSON.stringify(all)]
      const run = spawnSync(process.execPath, ['--import', 'tsx', ...args], {
        encoding: 'utf8',
        timeout: 50_000,
      })
      assert.equal(run.status, 0, run.stderr)
      return JSON.parse(run.stdout) as StepResult[]
    }
    const importing = (from: string) =>
      `import { text } from '${from}'\n${plugin('description: text')}`
    const text = (value: string) => `export const text = '${value}'\n`
    const said = (...descriptions: readonly string[]): StepResult => ({
      descriptions,
      sharesKey: false,
      problems: [],
    })

    for (const ending of ['ts', 'mjs']) {
      it(`runs it, of a .${ending} file and of what that takes in`, () => {
        const main = `main.${ending}`
        const load = [`./${main}`]
        const deep = `export { text } from '../text.${ending}'\n`
        assert.deepEqual(
          steps(
            {
              write: {
                [main]: importing(`./deep/deep.${ending}`),
                [`deep/deep.${ending}`]: deep,
                [`text.${ending}`]: text('one'),
              },
              load,
            },
            { write: { [`text.${ending}`]: text('two') }, load },
            { write: {}, load },
            { write: { [main]: plugin("description: 'three'") }, load },
            { write: { [main]: importing(`./text.${ending}`) }, load },
            { write: { [`text.${ending}`]: text('one') }, load },
          ),
          [said('one'), said('two'), said('two'), said('three'), said('two'), said('one')],
        )
      })
    }

    it('keeps what two modules share shared', () => {
      const key = "import { attributeKey } from 'endpoint-picker/plugin'\n"
      const module = (type: string, fields: string) =>
        `import { KEY } from './key.ts'\n${plugin(`type: '${type}', description: '${type}', ${fields}`)}`
      const load = ['./needs.ts', './makes.ts']
      const results = steps(
        {
          write: {
            'key.ts': `${key}export const KEY = attributeKey('Zone')\n`,
            'needs.ts': module('needs', 'needs: [KEY]'),
            'makes.ts': module('makes', "kind: 'producer', produces: KEY"),
          },
          load,
        },
        { write: { 'makes.ts': module('makes-more', "kind: 'producer', produces: KEY") }, load },
      )
      assert.deepEqual(results, [
        { descriptions: ['needs', 'makes'], sharesKey: true, problems: [] },
        { descriptions: ['needs', 'makes-more'], sharesKey: true, problems: [] },
      ])
    })

    it('says what is wrong with it, and runs it once mended', () => {
      const load = ['./a.ts']
      const [first, broken, mended] = steps(
        { write: { 'a.ts': plugin("description: 'one'") }, load },
        { write: { 'a.ts': "import './b.ts'\nexport default 1\n" }, load },
        { write: { 'a.ts': plugin("description: 'one'") }, load },
      )
      assert.deepEqual([first, mended], [said('one'), said('one')])
      assert.deepEqual(broken?.descriptions, [])
      assert.match(broken?.problems[0] ?? '', /^error: "\.\/a\.ts" does not load: /)
    })

    it('says that it needs a restart where Node keeps a module', () => {
      const common = (description: string) =>
        plugin(`description: '${description}'`).replace('export default', 'module.exports =')
      const load = ['./a.cjs']
      const results = steps(
        { write: { 'a.cjs': common('one') }, load },
        { write: { 'a.cjs': common('two') }, load },
        { write: {}, load },
        { write: { 'b.ts': plugin("type: 'b'") }, load: [...load, './b.ts'] },
      )
      const stale =
        'warning: "./a.cjs" has changed since it was loaded, and is a CommonJS module; restart to run the new code, or make it an ES module'
      assert.deepEqual(
        results.map(({ descriptions, problems }) => [descriptions[0], problems]),
        [
          ['one', []],
          ['one', [stale]],
          ['one', [stale]],
          ['one', [stale]],
        ],
      )
    })
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
