import { createServer } from 'node:net'
import { relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, Option } from 'commander'
import { DEFAULT_LIMITS } from '../framework/limits.ts'
import { seededRandom } from '../framework/random.ts'
import { Conversations } from '../sim/conversations.ts'
import { simEngineOptions } from '../sim/options.ts'
import type { RunningSimEngine } from '../sim-engine.ts'
import { createLogger } from '../telemetry/logger.ts'
import { port } from './flag-values.ts'
import { PROXY_DEFAULTS } from './proxy.ts'

const HOST = '127.0.0.1'
const MODEL = 'Qwen3-32B'
/** Of the engines and their events, where these are free. */
const ENGINE_PORTS = [8101, 8102, 8103]
const EVENTS_PORT = 5557
const PROFILE = fileURLToPath(new URL('../../config/scheduler-profiles.yaml', import.meta.url))
const ROUNDS = fileURLToPath(new URL('../../config/demo/', import.meta.url))
const PEOPLE = 6
const PAUSE_MS = 4000

interface DemoFlags {
  readonly port: number
  readonly metricsPort: number
  readonly load?: boolean
  readonly tokenizersDir?: string
}

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('three simulated engines, the picker, its proxy and dashboard on this machine')
    .addOption(new Option('--port <port>', 'of the proxy').default(8080).argParser(port))
    .addOption(
      new Option('--metrics-port <port>', 'of the dashboard').default(9090).argParser(port),
    )
    .option('--load', 'send a mild load: six people in conversation')
    .option('--tokenizers-dir <dir>', 'use these tokenizers instead of asking the engines')
    .addHelpText('after', '\nExample:\n  epp demo --load')
    .action(runDemo)
}

async function runDemo(flags: DemoFlags): Promise<void> {
  const [{ App }, { startSimEngine }, { signalled }] = await Promise.all([
    import('../app.ts'),
    import('../sim-engine.ts'),
    import('./serve.ts'),
  ])
  const quiet = createLogger({
    format: 'text',
    level: 'error',
    write: (line) => process.stderr.write(line),
    epochMs: Date.now,
  })
  const stack: (() => unknown)[] = []
  try {
    const ports = await Promise.all(ENGINE_PORTS.map(freePort))
    const events = `tcp://${HOST}:${await freePort(EVENTS_PORT)}`
    const app = await App.start({
      ...picker(flags, events),
      endpoints: ports.map((each, i) => `engine-${i}=${HOST}:${each}`),
    })
    stack.push(() => app.close())
    for (const each of ports) {
      const engine: RunningSimEngine = await startSimEngine(
        simEngineOptions({
          port: String(each),
          servedModelName: MODEL,
          blockSize: '64',
          tokenizersDir: flags.tokenizersDir,
          kvEventsConfig: JSON.stringify({
            enable_kv_cache_events: true,
            publisher: 'zmq',
            endpoint: events,
            topic: `kv@${HOST}:${each}@${MODEL}`,
          }),
        }),
        quiet,
      )
      stack.push(() => engine.close())
    }
    const url = `http://${HOST}:${app.ports.proxy}`
    process.stdout.write(guide(url, `http://${HOST}:${app.ports.metrics}`))
    if (flags.load) {
      const load = new Conversations({
        ...{ url, model: MODEL, people: PEOPLE, pauseMs: PAUSE_MS },
        random: seededRandom(Date.now()),
        failed: (reason) => quiet.warnOnce(`load ${reason}`, `the load was answered: ${reason}`),
      })
      stack.push(() => load.stop())
    }
    await signalled()
  } finally {
    for (const step of stack.reverse()) await step()
  }
}

function picker({ port: proxyPort, metricsPort, tokenizersDir }: DemoFlags, events: string) {
  return {
    configFile: PROFILE,
    ...(tokenizersDir !== undefined && { tokenizersDir }),
    bindAddress: HOST,
    grpcPort: 0,
    grpcHealthPort: 0,
    metricsPort,
    proxy: { ...PROXY_DEFAULTS, host: HOST, port: proxyPort },
    kvEventsBind: events,
    secureServing: true,
    refreshMetricsInterval: 200,
    requestTimeout: 3_600_000,
    drainTimeout: 2000,
    maxBodyMib: 64,
    maxBufferedMib: 1024,
    limits: DEFAULT_LIMITS,
    adminToken: undefined,
    logFormat: 'text',
    logLevel: 'info',
    requestLog: 'on',
    decisionHeader: true,
  } as const
}

/** The port, or any free one where it is taken. */
function freePort(wanted: number): Promise<number> {
  const tryPort = (each: number) =>
    new Promise<number | undefined>((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(undefined))
      server.listen(each, HOST, () => {
        const { port: found } = server.address() as { port: number }
        server.close(() => resolve(found))
      })
    })
  return tryPort(wanted).then(async (found) => found ?? (await tryPort(0))!)
}

function guide(proxy: string, admin: string): string {
  const curl = (round: string) =>
    `  curl -X POST ${proxy}/v1/chat/completions -H 'Content-Type: application/json' -d @${shortest(ROUNDS + round)}`
  return `
The demo runs: three simulated engines, the picker, and its proxy at ${proxy}.
Watch it at ${admin}/ and send a prompt, then one that goes on from it:

${curl('round1.txt')}
${curl('round2.txt')}

Both go to one endpoint: "Request handled" below names it, and so does the dashboard. See why:

  curl ${admin}/decisions?limit=2
  curl ${admin}/readyz?verbose

Ctrl-C ends it.

`
}

/** A path as one would type it here. */
function shortest(path: string): string {
  const near = relative(process.cwd(), path)
  return near.startsWith('..') ? path : `.${sep}${near}`
}
