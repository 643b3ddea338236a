import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, normalize, sep } from 'node:path'

const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.split(sep).join('/'))
const text = (file: string) => readFileSync(join('src', file), 'utf8')
const importsOf = (file: string) =>
  [...text(file).matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, specifier]) => specifier!)

/** Folders of the composition root, which may import anything. */
const ROOT = ['app', 'cli']

/** The one folder or file where a package may be imported. */
const HOMES: Readonly<Record<string, string>> = {
  '@grpc/grpc-js': 'extproc/',
  selfsigned: 'extproc/',
  zeromq: 'kvcache/',
  '@msgpack/msgpack': 'kvcache/',
  'cbor-x': 'kvcache/',
  '@huggingface/tokenizers': 'tokenize/',
  '@huggingface/jinja': 'tokenize/',
  yaml: 'config/',
  tsyringe: 'framework/container.ts',
  'reflect-metadata': 'framework/container.ts',
  'prom-client': 'telemetry/',
  commander: 'cli/',
}

describe('src/', () => {
  for (const file of files.filter((each) => each.includes('/'))) {
    const folder = file.split('/')[0]!
    if (ROOT.includes(folder)) continue
    it(`${file} imports only framework/ and its own folder`, () => {
      const foreign = importsOf(file)
        .filter((specifier) => specifier.startsWith('.'))
        .map((specifier) =>
          normalize(join(file, '..', specifier))
            .split(sep)
            .join('/'),
        )
        .filter((path) => !path.startsWith('framework/') && !path.startsWith(`${folder}/`))
      assert.deepEqual(foreign, [])
    })
  }

  for (const [name, home] of Object.entries(HOMES)) {
    it(`${name} is known in ${home} alone`, () => {
      const strangers = files.filter(
        (file) =>
          !file.startsWith(home) &&
          importsOf(file).some((each) => each === name || each.startsWith(`${name}/`)),
      )
      assert.deepEqual(strangers, [])
    })
  }

  it('loads no package for `epp --help` but those that read the command line', () => {
    const seen = new Set<string>()
    const packages = new Set<string>()
    const load = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      const loaded = text(file).matchAll(/^(?:import|export)(?! type\b)[^;']*?from '([^']+)'/gm)
      for (const [, specifier = ''] of loaded) {
        if (specifier.startsWith('.')) load(join(file, '..', specifier).split(sep).join('/'))
        else if (!specifier.startsWith('node:')) packages.add(specifier)
      }
    }
    load('main.ts')
    assert.deepEqual([...packages].sort(), ['commander', 'fastest-levenshtein'])
  })

  it('has no folder for leftovers', () => {
    const names = files.flatMap((file) => file.split('/').slice(0, -1))
    for (const name of ['utils', 'common', 'helpers', 'types', 'interfaces', 'lib', 'misc']) {
      assert.ok(!names.includes(name), `src/ has a folder "${name}"`)
    }
  })

  it('exports nothing by default but plugins', () => {
    assert.deepEqual(
      files.filter((file) => /^export default /m.test(text(file)) && !file.startsWith('plugins/')),
      [],
    )
  })

  it('framework/ does no input or output', () => {
    const banned = /^node:(fs|net|http|http2|https|dgram|tls|child_process|worker_threads|dns)/
    for (const file of files.filter((each) => each.startsWith('framework/'))) {
      assert.deepEqual(
        importsOf(file).filter((specifier) => banned.test(specifier)),
        [],
        file,
      )
    }
  })
})
