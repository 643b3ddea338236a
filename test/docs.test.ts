import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createProgram } from '../src/cli/program.ts'
import { loadConfig } from '../src/config/load.ts'
import { ModuleLoader } from '../src/config/module-loader.ts'
import type { Outcome } from '../src/framework/plugin.ts'
import { endpoint, request } from '../src/framework/testing.ts'
import { builtinPlugins } from '../src/plugins/index.ts'
import { FieldMetrics } from '../src/telemetry/field-metrics.ts'
import { PrometheusMetrics } from '../src/telemetry/metrics.ts'

const PAGES = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'examples/third-party-plugin/README.md'],
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md') && file !== 'api-report.md')
    .map((file) => join('docs', file)),
]
const read = (page: string) => readFileSync(page, 'utf8')

/** The fenced blocks of a page that are marked with a language. */
function blocks(page: string, language: string): readonly string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm')
  return [...read(page).matchAll(fence)].map(([, text]) => text!)
}

/** Blocks of TypeScript by the file name that their first line says. */
function sources(page: string): readonly { readonly name: string; readonly text: string }[] {
  return blocks(page, 'ts').flatMap((text) => {
    const [, name] = /^\/\/ (\S+\.ts)\n/.exec(text) ?? []
    return name === undefined ? [] : [{ name, text }]
  })
}

/** Every match of a pattern in a text, without repetition. */
function found(text: string, pattern: RegExp): readonly string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match.slice(1).find(Boolean)!))]
}

describe('documentation', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'epp-docs-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  describe('examples', () => {
    const profiles = PAGES.flatMap((page) =>
      blocks(page, 'yaml')
        .filter((text) => text.includes('schedulingProfiles'))
        .map((text, i) => ({ page, text, name: `profile ${i + 1} of ${page}` })),
    )
    // A package that must be installed first; the tests of packaging do that.
    const here = profiles.filter(({ page }) => !page.startsWith('examples'))

    it('are found', () =>
      assert.ok(here.length >= builtinPlugins.length, `${here.length} profiles`))

    for (const { page, text, name } of here) {
      it(`${name} is valid, without warnings`, async () => {
        for (const source of sources(page)) writeFileSync(join(folder, source.name), source.text)
        const modules = new ModuleLoader(builtinPlugins)
        const file = join(folder, 'profile.yaml')
        const { warnings, spec } = await loadConfig(text, file, builtinPlugins, modules)
        assert.deepEqual(warnings, [])
        assert.ok(spec.profiles.length > 0)
      })
    }

    it('of docs/plugins/ show the plugin that the page is about', () => {
      for (const { type } of builtinPlugins) {
        const page = join('docs', 'plugins', `${type}.md`)
        assert.ok(
          blocks(page, 'yaml').some((text) => text.includes(`type: ${type}`)),
          `${page} has no example of ${type}`,
        )
      }
    })

    it('the tests of plugins in docs/writing-a-plugin.md pass in a folder of their own', function () {
      this.timeout(60_000)
      const own = join(folder, 'plugin')
      mkdirSync(join(own, 'node_modules'), { recursive: true })
      symlinkSync(resolve('.'), join(own, 'node_modules', 'endpoint-picker'))
      writeFileSync(join(own, 'package.json'), '{ "type": "module" }')
      const files = sources('docs/writing-a-plugin.md')
      for (const { name, text } of files) writeFileSync(join(own, name), text)
      const tests = files.map(({ name }) => name).filter((name) => name.endsWith('.test.ts'))
      assert.deepEqual(tests, ['same-zone-scorer.test.ts', 'wait-scorer.test.ts'])
      const tsx = pathToFileURL(createRequire(resolve('package.json')).resolve('tsx')).href
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        [
          ...['--import', tsx, resolve('node_modules/mocha/bin/mocha.js')],
          ...['--reporter', 'json', ...tests],
        ],
        { cwd: own, encoding: 'utf8', timeout: 50_000 },
      )
      assert.equal(status, 0, `${stdout}${stderr}`)
      assert.equal((JSON.parse(stdout) as { stats: { passes: number } }).stats.passes, 5)
    })
  })

  describe('names what is there', () => {
    const all = PAGES.map(read).join('\n')
    const program = createProgram()

    for (const page of PAGES) {
      it(`${page} links to files that exist`, () => {
        const links = found(read(page), /\]\((?![a-z]+:|#)([^)#\s]+)/g)
        assert.deepEqual(
          links.filter((link) => !existsSync(join(dirname(page), link))),
          [],
        )
      })
    }

    it('flags are flags of some command', () => {
      const flags = new Set(
        [program, ...program.commands].flatMap(({ options }) => options.map(({ long }) => long)),
      )
      // A command line of another program, with the lines that go on, has that program's flags.
      const ours = all.replaceAll(/(?:^|`)(?:kubectl|helm|docker) (?:\\\n|[^\n`])*/gm, '')
      const named = found(ours, /(?<![\w-])(--[a-z][a-z-]+)/g)
      assert.ok(named.length >= 10, `${named.length} flags`)
      assert.deepEqual(
        named.filter((flag) => flag !== '--help' && !flags.has(flag)),
        [],
      )
    })

    it('commands are commands', () => {
      const commands = program.commands.map((command) => command.name())
      const named = found(all, /(?:`|^ *)epp ([a-z][a-z-]*)/gm)
      assert.deepEqual([...named].sort(), [...commands].sort())
    })

    it('npm scripts are scripts', () => {
      const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
      assert.deepEqual(
        found(all, /npm run (?:-s )?([\w:-]+)/g).filter((name) => !(name in scripts)),
        [],
      )
    })

    it('every plugin has its page, and every page a plugin', () => {
      const pages = readdirSync(join('docs', 'plugins')).map((file) => file.replace(/\.md$/, ''))
      assert.deepEqual(pages.sort(), builtinPlugins.map(({ type }) => type).sort())
    })

    it('the changelog has a head for what is not released', () => {
      assert.match(read('CHANGELOG.md'), /^## Unreleased\n\n### \w+\n\n- /m)
    })
  })

  describe('docs/metrics.md', () => {
    /** Metric names and types in the order of their rows; a row may name several. */
    const documented = read('docs/metrics.md')
      .split('\n')
      .filter((line) => /^\|.*`[a-z_]+`.*\|$/.test(line) && !line.includes('[5m]'))
      .flatMap((line) => {
        const type = /\| (counter|gauge|histogram) \|/.exec(line)?.[1]
        return type === undefined
          ? []
          : found(line, /`((?:epp|inference|llm_d)_[a-z_]+)`/g).map((name) => ({ name, type }))
      })

    it('lists every metric of ours with its type, and no other', () => {
      const kinds: Readonly<Record<string, string>> = {
        counter: 'counter',
        gauge: 'gauge',
        histogram: 'histogram',
        observed: 'gauge',
      }
      const code = readdirSync('src', { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.ts'))
        .map((file) => read(join('src', file)))
        .join('\n')
      const made = [
        ...code.matchAll(/\b(counter|gauge|histogram|observed)\(\s*'(epp_[a-z_]+)'/g),
      ].map(([, kind, name]) => `${name} ${kinds[kind!]}`)
      const named = found(code, /'(epp_[a-z_]*[a-z])'/g)
      assert.deepEqual(
        found(made.join('\n'), /^(\S+)/gm).toSorted(),
        [...named].sort(),
        'a metric whose making this test does not see',
      )
      assert.deepEqual(
        documented
          .filter(({ name }) => name.startsWith('epp_'))
          .map(({ name, type }) => `${name} ${type}`)
          .sort(),
        [...new Set(made)].sort(),
      )
    })

    it("lists every metric of the field's with its type, and no other", async () => {
      const metrics = new PrometheusMetrics()
      const one = endpoint()
      const field = new FieldMetrics(
        metrics,
        { list: () => [one], listen: () => () => {} },
        'default',
        true,
      )
      const asked = request()
      field.picked(asked)
      const usage = { promptTokens: 3, completionTokens: 2, cachedTokens: 1 }
      const outcome: Outcome = {
        ...{ reason: 'completed', status: 500, usage, responseBytes: 10 },
        ...{ firstByteMs: 1, durationMs: 2 },
      }
      field.ended(asked, one, outcome)
      field.refused('POOL_EMPTY')
      const types = [
        ...(await metrics.text()).matchAll(/^# TYPE ((?:inference|llm_d)_\w+) (\w+)$/gm),
      ]
      assert.deepEqual(
        documented
          .filter(({ name }) => !name.startsWith('epp_'))
          .map(({ name, type }) => `${name} ${type}`)
          .sort(),
        types.map(([, name, type]) => `${name} ${type}`).sort(),
      )
    })
  })
})
