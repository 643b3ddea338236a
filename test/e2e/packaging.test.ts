import assert from 'node:assert/strict'
import { type ExecFileException, execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { publint } from 'publint'
import { bodyOf, Gateway, requestBody, requestHeaders, setHeaders } from '../extproc/client.ts'
import { tokenizersDir } from '../fixtures.ts'
import { parseDockerfile, type Stage } from './dockerfile.ts'
import { Epp } from './epp.ts'
import { Process } from './process.ts'

const MINUTE_MS = 60_000

/** npm's own settings for what is run from here; what an npm that runs the tests has set is left out. */
const NPM_ENV = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^npm_(lifecycle|package|command|config_local_prefix)/.test(name),
  ),
)
Object.assign(NPM_ENV, {
  npm_config_prefer_offline: 'true',
  npm_config_audit: 'false',
  npm_config_fund: 'false',
  npm_config_update_notifier: 'false',
})

/** Standard output of a command that must end well. */
function run(
  cwd: string,
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = NPM_ENV,
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(
      command,
      args,
      { cwd, env, timeout: 3 * MINUTE_MS, maxBuffer: 64 * 1024 * 1024 },
      (error: ExecFileException | null, stdout: string, stderr: string) => {
        if (error === null) return resolve(stdout)
        reject(
          new Error(`${command} ${args.join(' ')} in ${cwd}: ${error.message}\n${stdout}${stderr}`),
        )
      },
    )
  })
}

interface DecisionPage {
  readonly generation: number
  readonly endpoints: readonly string[]
  readonly promptTokens?: { readonly count: number; readonly exact: boolean }
  readonly profiles: readonly {
    readonly profile: string
    readonly endpoints: readonly {
      readonly endpoint: string
      readonly scores: Readonly<Record<string, { readonly score: number }>>
    }[]
  }[]
}

/** An installed picker that serves on free ports. */
async function serve(
  name: string,
  command: string,
  args: readonly string[],
): Promise<{ readonly epp: Epp; readonly gateway: Gateway; stop(): Promise<void> }> {
  const process = new Process(name, command, [
    ...args,
    ...['--bind-address', '127.0.0.1', '--log-format', 'json', '--secure-serving=false'],
    ...['--grpc-port', '0', '--grpc-health-port', '0', '--metrics-port', '0'],
  ])
  try {
    const line = await process.line(({ msg }) => msg === 'Serving', 'line "Serving"', MINUTE_MS)
    const epp = new Epp(process, line as unknown as Epp['ports'])
    const gateway = new Gateway(`127.0.0.1:${epp.ports.grpc}`)
    return {
      epp,
      gateway,
      stop: async () => {
        gateway.close()
        await epp.stop()
      },
    }
  } catch (error) {
    await process.stop('SIGKILL')
    throw error
  }
}

/** Sends one request through the ext_proc port; the destination and the decision about it. */
async function ask(
  { epp, gateway }: { readonly epp: Epp; readonly gateway: Gateway },
  body: string,
  headers: Readonly<Record<string, string>> = {},
) {
  const exchange = gateway.open()
  exchange.send(requestHeaders({ 'x-request-id': 'asked', ...headers }), requestBody(body, true))
  const answers = await exchange.untilEnd('requestBody')
  exchange.cancel()
  assert.equal(bodyOf(answers, 'requestBody').toString(), body)
  return {
    destination: setHeaders(answers[0])['x-gateway-destination-endpoint'],
    decision: await epp.json<DecisionPage>('/decisions/asked'),
  }
}

describe('packaging', function () {
  this.timeout(5 * MINUTE_MS)
  const folder = mkdtempSync(join(tmpdir(), 'epp-packaging-'))
  const startedMs = Date.now()

  after(() => {
    rmSync(folder, { recursive: true, force: true })
    console.log(
      `      packaging took ${Math.round((Date.now() - startedMs) / 1000)} s (budget 90 s)`,
    )
  })

  describe('the package, packed and installed into an empty folder', () => {
    const installed = join(folder, 'installed')
    const epp = join(installed, 'node_modules', '.bin', 'epp')
    let tarball: string
    let files: readonly string[]

    before(async () => {
      // The build is there already; building again would change it under whoever else uses it.
      const packed = JSON.parse(
        await run('.', 'npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder]),
      ) as readonly [{ readonly filename: string; readonly files: readonly { path: string }[] }]
      tarball = join(folder, basename(packed[0].filename))
      files = packed[0].files.map(({ path }) => path)
      mkdirSync(installed)
      await run(installed, 'npm', ['install', tarball])
    })

    it('holds what it needs, and no sources or tests', () => {
      for (const file of [
        ...['package.json', 'README.md', 'LICENSE', 'THIRD-PARTY-NOTICES', 'CHANGELOG.md'],
        ...['dist/main.js', 'dist/framework/index.d.ts', 'dist/tokenize/encode-worker.js'],
        ...['config/scheduler-profiles.yaml', 'schemas/scheduler-profiles.schema.json'],
        ...['dashboard/index.html', 'dashboard/main.js', 'dashboard/style.css'],
        ...['deploy/envoy/bootstrap.yaml', 'docs/writing-a-plugin.md'],
        ...['deploy/charts/endpoint-picker/Chart.yaml', 'deploy/ack/picker.yaml'],
        'deploy/crds/inferencetrafficpolicies.yaml',
      ]) {
        assert.ok(files.includes(file), `${file} is missing`)
      }
      assert.deepEqual(
        files.filter((file) => /^(src|test|bench|scripts|examples|\.)/.test(file)),
        [],
      )
    })

    it('is good in the eyes of publint', async () => {
      const { buffer, byteOffset, byteLength } = readFileSync(tarball)
      const { messages } = await publint({
        pack: { tarball: buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer },
      })
      assert.deepEqual(messages, [])
    })

    it('runs: epp --help, --version, check of the shipped file', async () => {
      const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
      assert.match(await run(installed, epp, ['--help']), /^Usage: epp .*\n[\s\S]*\n {2}serve /)
      assert.equal(await run(installed, epp, ['--version']), `${version}\n`)
      const shipped = 'node_modules/endpoint-picker/config/scheduler-profiles.yaml'
      assert.equal(await run(installed, epp, ['check', '--strict', shipped]), `${shipped}: valid\n`)
    })

    it('publishes its entry points and nothing else', async () => {
      writeFileSync(
        join(installed, 'entries.mjs'),
        `import { createRequire } from 'node:module'
         import { definePlugin, Type } from 'endpoint-picker/plugin'
         import { checkPlugin } from 'endpoint-picker/testing'
         import schema from 'endpoint-picker/schemas/scheduler-profiles.schema.json' with { type: 'json' }
         checkPlugin(definePlugin({
           kind: 'filter', type: 'all-filter', description: 'Keeps all.', params: Type.Object({}),
           create: () => ({ filter: (_request, endpoints) => endpoints }),
         }))
         createRequire(import.meta.url).resolve('endpoint-picker/schemas/proto/ext_proc.proto')
         const refused = []
         for (const path of ['', '/dist/app.js', '/framework']) {
           await import('endpoint-picker' + path).catch((error) => refused.push(error.code))
         }
         console.log(JSON.stringify({ title: schema.title, refused }))`,
      )
      // Node 20 calls JSON modules experimental, on standard error.
      const { title, refused } = JSON.parse(
        await run(installed, process.execPath, ['entries.mjs']),
      ) as { title: string; refused: readonly string[] }
      assert.equal(title, 'Configuration of endpoint-picker')
      assert.deepEqual(refused, Array(3).fill('ERR_PACKAGE_PATH_NOT_EXPORTED'))
    })

    it('loads a lone TypeScript file beside a YAML in a folder that holds nothing else', async () => {
      const lone = join(folder, 'lone')
      mkdirSync(lone)
      writeFileSync(
        join(lone, 'my-scorer.ts'),
        `import { definePlugin, type Endpoint, Type } from 'endpoint-picker/plugin'

const wanted = (endpoint: Endpoint, port: string | undefined): number =>
  Number(String(endpoint.port) === port)

export default definePlugin({
  kind: 'scorer',
  type: 'my-scorer',
  description: 'Prefers the port that a header names.',
  params: Type.Object({ header: Type.String({ default: 'x-port', description: 'The header.' }) }),
  create: ({ header }) => ({
    score: (request, endpoints) =>
      endpoints.map((endpoint) => wanted(endpoint, request.headers.get(header))),
  }),
})
`,
      )
      writeFileSync(
        join(lone, 'profile.yaml'),
        `modules: ['./my-scorer.ts']
schedulingProfiles:
  - name: default
    plugins:
      - { type: my-scorer, weight: 2, parameters: { header: x-wanted } }
      - { type: max-score-picker }
`,
      )
      assert.equal(await run(lone, epp, ['check', 'profile.yaml']), 'profile.yaml: valid\n')
      const [one, two] = ['127.0.0.73:8001', '127.0.0.73:8002']
      const picker = await serve('installed epp', epp, [
        ...['serve', '--config-file', join(lone, 'profile.yaml')],
        ...['--endpoint', one, '--endpoint', two],
      ])
      try {
        for (const [port, wanted] of [
          ['8002', two],
          ['8001', one],
        ] as const) {
          const body = '{"model":"m","prompt":"p"}'
          const { destination, decision } = await ask(picker, body, { 'x-wanted': port })
          assert.equal(destination, wanted)
          assert.deepEqual(
            decision.profiles[0]!.endpoints.map(({ endpoint, scores }) => [
              endpoint,
              scores['my-scorer']!.score,
            ]),
            [
              [one, Number(port === '8001')],
              [two, Number(port === '8002')],
            ],
          )
        }
      } finally {
        await picker.stop()
      }
      assert.deepEqual(readdirSync(lone).sort(), ['my-scorer.ts', 'profile.yaml'])
    })

    it('carries the example package: type-checked, tested, packed, used by its name', async () => {
      const example = join(folder, 'example')
      cpSync('examples/third-party-plugin', example, {
        recursive: true,
        filter: (path) => !['node_modules', 'dist'].includes(basename(path)),
      })
      // The peer dependency is met by the tarball; nothing else provides it.
      await run(example, 'npm', ['install', '--no-save', tarball])
      const { peerDependencies } = JSON.parse(
        readFileSync(join(example, 'package.json'), 'utf8'),
      ) as { peerDependencies: Record<string, string> }
      assert.deepEqual(Object.keys(peerDependencies), ['endpoint-picker'])
      assert.match(await run(example, 'npm', ['test']), /\n {2}3 passing/)

      await run(example, 'npm', ['pack', '--pack-destination', folder])
      const beside = join(folder, 'beside')
      mkdirSync(beside)
      writeFileSync(join(beside, 'package.json'), '{ "private": true }')
      await run(beside, 'npm', [
        ...['install', '--legacy-peer-deps', join(folder, 'same-zone-scorer-1.0.0.tgz')],
      ])
      assert.deepEqual(readdirSync(join(beside, 'node_modules/same-zone-scorer/dist')).sort(), [
        'same-zone-scorer.d.ts',
        'same-zone-scorer.js',
      ])
      const [, yaml] = /```yaml\n([\s\S]*?)```/.exec(
        readFileSync(join(example, 'README.md'), 'utf8'),
      )!
      writeFileSync(join(beside, 'profile.yaml'), yaml!)
      assert.equal(
        await run(beside, epp, ['check', '--strict', 'profile.yaml']),
        'profile.yaml: valid\n',
      )
    })
  })

  describe("the Dockerfile's steps, run in empty folders", () => {
    const { stages, ignored } = parseDockerfile()
    const root = (stage: Stage) => join(folder, `stage-${stages.indexOf(stage)}`)
    /** Where a path of the image lies on this machine. */
    const inside = (stage: Stage, path: string) => join(root(stage), resolve(stage.workdir, path))

    /** Does what the stage's instructions say, in their order. */
    async function build(stage: Stage) {
      mkdirSync(inside(stage, '.'), { recursive: true })
      const env = { ...NPM_ENV, ...stage.env }
      for (const step of stage.steps) {
        if (step.kind === 'run') {
          await run(inside(stage, '.'), 'sh', ['-c', step.command], env)
          continue
        }
        const from = stages.find(({ name }) => name !== undefined && name === step.from)
        assert.ok(step.from === undefined || from, `COPY --from=${step.from}: no such stage`)
        for (const source of step.sources) {
          if (from === undefined) {
            assert.ok(!ignored.includes(source.split('/')[0]!), `.dockerignore hides ${source}`)
          }
          const path = from === undefined ? source : inside(from, source)
          const into = /\/$|^\.$/.test(step.target)
          const target = into ? join(step.target, basename(source)) : step.target
          cpSync(path, inside(stage, target), { recursive: true, verbatimSymlinks: true })
        }
      }
    }

    before(async () => {
      for (const stage of stages) await build(stage)
    })

    it('has two stages, of which the second runs as nobody in particular', () => {
      assert.equal(stages.length, 2)
      // A number: Kubernetes' runAsNonRoot cannot know whom a name means.
      assert.match(stages[1]!.user!, /^[1-9]\d*:[1-9]\d*$/)
      for (const { image } of stages) assert.match(image, /^node:24-\w+-slim$/)
    })

    it('leaves the second without what only building needs', () => {
      const modules = inside(stages[1]!, '/app/node_modules')
      assert.ok(existsSync(join(modules, 'zeromq')))
      for (const name of ['typescript', 'mocha', '@biomejs']) {
        assert.ok(!existsSync(join(modules, name)), `${name} is in the image`)
      }
    })

    /** The command that a container of the image runs with these arguments, in the image's working directory. */
    function container(args: readonly string[]) {
      const final = stages[1]!
      const [command, main] = final.entrypoint
      assert.equal(command, 'node')
      const program = [process.execPath, inside(final, main!), ...args]
      return ['-c', 'cd "$0" && exec "$@"', inside(final, '.'), ...program]
    }

    it('is the command itself: flags need no sub-command before them', () => {
      const { entrypoint, command } = stages[1]!
      assert.equal(entrypoint.length, 2)
      assert.deepEqual(command, [])
    })

    it('runs there: the entry point with --help', async () => {
      const help = await run('.', 'sh', container(['--help']), {
        PATH: process.env.PATH,
        ...stages[1]!.env,
      })
      assert.match(help, /^Usage: epp /)
    })

    it("serves there as GIE's chart v0.5.1 starts it: a file named from the root without a slash", async () => {
      const config = inside(stages[1]!, '/config')
      mkdirSync(config)
      writeFileSync(
        join(config, 'custom.yaml'),
        'schedulingProfiles: [{ name: mounted, plugins: [{ type: random-picker }] }]\n',
      )
      const picker = await serve('epp of the image', 'sh', [
        ...container(['-configFile', 'config/custom.yaml', '--v', '3']),
        ...['--endpoint', '127.0.0.73:8003'],
      ])
      try {
        const { decision } = await ask(picker, '{"model":"m","prompt":"p"}')
        assert.equal(decision.profiles[0]!.profile, 'mounted')
        assert.match(await picker.epp.page('/dashboard/main.js'), /^import /)
        assert.match(await picker.epp.page('/dashboard/uplot.js'), /uPlot/)
      } finally {
        await picker.stop()
      }
    })

    it('serves there with the default profile, a tokenizer and worker threads', async () => {
      const picker = await serve('epp of the image', 'sh', [
        ...container(['--endpoint', '127.0.0.73:8003']),
        ...['--kv-events-bind', 'tcp://127.0.0.1:*', '--tokenizers-dir', tokenizersDir()],
      ])
      try {
        const prompt = Array.from({ length: 4000 }, (_, i) => `word${i}`).join(' ')
        const body = JSON.stringify({ model: 'Qwen3-32B', prompt })
        const { destination, decision } = await ask(picker, body)
        assert.equal(destination, '127.0.0.73:8003')
        assert.equal(decision.promptTokens?.exact, true)
        assert.ok(decision.promptTokens.count > 4000)
      } finally {
        await picker.stop()
      }
    })
  })
})
