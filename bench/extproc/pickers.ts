// The pickers that are measured, each in a process of its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { tokenizersDir } from '../../test/fixtures.ts'
import { ENDPOINTS_FILE, ENGINE_PORT, ENGINES, FIRST_PORT, LOAD_TOOL } from './load-tool.ts'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const HERE = here('../..')
const OTHER = '-other'
const PICKER_PORT = FIRST_PORT + 1_100
/** Where pickers that know the blocks of engines hear of them: the one of this tree, and the one of another. */
const EVENTS = [1_099, 1_098].map((offset) => `tcp://127.0.0.1:${FIRST_PORT + offset}`)

interface Picker {
  readonly name: string
  /** Node when absent. */
  readonly command?: string
  /** What Envoy sends it: see bench/epp/README.md; all when absent. */
  readonly mode?: 'skip' | 'override'
  /** Where it hears of what engines hold; nowhere when absent. */
  readonly events?: string
  args(port: string): readonly string[]
}

const nothing = (script: string) => (port: string) => [
  here(script),
  port,
  `127.0.0.1:${ENGINE_PORT}`,
]

const serve =
  (root: string, ...more: readonly string[]) =>
  (port: string) => [
    ...[resolve(root, 'dist/main.js'), 'serve', '--bind-address', '127.0.0.1'],
    ...['--grpc-port', port, '--grpc-health-port', '0', '--metrics-port', '0'],
    ...['--endpoints-file', ENDPOINTS_FILE, '--secure-serving=false', '--request-log', 'off'],
    ...['--kv-events-bind', 'tcp://127.0.0.1:*', ...more],
  ]

const PICKERS: readonly Picker[] = [
  {
    name: 'N',
    command: LOAD_TOOL,
    args: (port) => ['null', '-port', port, '-base', String(ENGINE_PORT)],
  },
  { name: 'null-http2', args: nothing('./null-http2.mjs') },
  { name: 'null-grpc-js', args: nothing('./null-grpc-js.mjs') },
  { name: 'exchange', args: nothing('./exchange.mjs') },
  ...products(HERE, '', EVENTS[0]!),
  { name: 'epp-none', args: serve(HERE, '--responses', 'none') },
  { name: 'epp-none-skip', mode: 'skip', args: serve(HERE, '--responses', 'none') },
  { name: 'epp-none-override', mode: 'override', args: serve(HERE, '--responses', 'none') },
]

/** The product of one tree, by its name and `suffix`. */
function products(root: string, suffix: string, events: string): Picker[] {
  const precise = ['--kv-events-bind', events, '--config-file', here('./precise.yaml')]
  return [
    { name: `epp${suffix}`, args: serve(root) },
    {
      name: `epp-precise${suffix}`,
      events,
      args: (port) => serve(root, ...precise, '--tokenizers-dir', tokenizersDir())(port),
    },
  ]
}

/** A module to preload into pickers that run on Node, which measures them between two SIGUSR2. */
export interface Watch {
  readonly module: string
  /** Where it writes what it finds, told in BENCH_WATCH. */
  into(name: string): string
}

/** Pickers that listen. */
export class RunningPickers {
  readonly names: readonly string[]
  readonly targets: readonly string[]
  readonly #children: readonly ChildProcess[]

  private constructor(
    names: readonly string[],
    targets: readonly string[],
    children: readonly ChildProcess[],
  ) {
    this.names = names
    this.targets = targets
    this.#children = children
  }

  /**
   * Starts those whose name the expression matches.
   *
   * @param against another tree of the product, built: those of its pickers too, `-other` behind their names
   */
  static async start(names: RegExp, watch?: Watch, against?: string): Promise<RunningPickers> {
    const others = against === undefined ? [] : products(against, OTHER, EVENTS[1]!)
    const chosen = [
      ...PICKERS.filter(({ name }) => names.test(name)),
      ...others.filter(({ name }) => names.test(name.slice(0, -OTHER.length))),
    ]
    const children: ChildProcess[] = []
    try {
      const targets = await Promise.all(
        chosen.map(async (picker, i) => {
          const port = PICKER_PORT + i
          const child = startPicker(picker, String(port), watch)
          children.push(child)
          // The load tool waits for the ports; the picker in Go says nothing.
          if (picker.command === undefined) await hasSpoken(child, picker.name)
          // `nice` becomes the picker, hence its pid is the picker's.
          return `${picker.name}:${child.pid}:${port}:${picker.mode ?? 'full'}`
        }),
      )
      for (const { events } of chosen) if (events) children.push(await announce(events))
      return new RunningPickers(
        chosen.map(({ name }) => name),
        targets,
        children,
      )
    } catch (error) {
      for (const child of children) child.kill()
      throw error
    }
  }

  /** Resident memory of a picker now, in MB as the load tool counts them; undefined when it does not run. */
  rssMB(name: string): number | undefined {
    const pid = this.#children[this.names.indexOf(name)]?.pid
    if (pid === undefined) return undefined
    const kilobytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return Number(kilobytes) / 1024
  }

  stop(): void {
    for (const child of this.#children) child.kill()
  }
}

function startPicker({ name, command, args }: Picker, port: string, watch?: Watch) {
  const preload = watch && !command ? ['--import', watch.module] : []
  const env = watch && { ...process.env, BENCH_WATCH: watch.into(name) }
  return spawn('nice', [command ?? process.execPath, ...preload, ...args(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(env && { env }),
  })
}

/** Starts what stands in for engines that tell what they hold. */
async function announce(events: string): Promise<ChildProcess> {
  const engines = Array.from({ length: ENGINES }, (_, i) => `127.0.0.1:${ENGINE_PORT + i}`)
  const args = ['--import', 'tsx', here('./announce.ts'), LOAD_TOOL, tokenizersDir(), events]
  const child = spawn(process.execPath, [...args, ...engines], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await hasSpoken(child, 'announce.ts')
  return child
}

function hasSpoken(child: ChildProcess, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout!.once('data', () => resolve())
    child.once('exit', (code) =>
      reject(new Error(`${name} ended with code ${code} before it listened`)),
    )
  })
}
