import { Process } from './process.ts'

const MAIN = 'dist/main.js'

/** A picker that runs as a user would start it, from the built files. */
export class Epp {
  readonly process: Process
  readonly ports: {
    readonly grpc: number
    readonly health: number
    readonly metrics: number
    /** Of the embedded proxy. */
    readonly proxy?: number
  }

  constructor(process: Process, ports: Epp['ports']) {
    this.process = process
    this.ports = ports
  }

  /** Starts `epp serve`, or another command like it, on free loopback ports, with JSON logs, and waits until it serves. */
  static async start(
    args: readonly string[],
    env: NodeJS.ProcessEnv = {},
    command = 'serve',
  ): Promise<Epp> {
    const process = new Process(
      'epp',
      globalThis.process.execPath,
      [
        MAIN,
        command,
        ...['--bind-address', '127.0.0.1', '--log-format', 'json'],
        ...['--grpc-port', '0', '--grpc-health-port', '0', '--metrics-port', '0'],
        ...args,
      ],
      env,
    )
    try {
      const line = await process.line(({ msg }) => msg === 'Serving', 'line "Serving"')
      return new Epp(process, line as unknown as Epp['ports'])
    } catch (error) {
      await process.stop('SIGKILL')
      throw error
    }
  }

  /** GETs a page of the admin server. */
  async page(path: string): Promise<string> {
    const url = `http://127.0.0.1:${this.ports.metrics}${path}`
    // A kept connection may be closed by the other side in the moment in which it is used.
    const response = await fetch(url).catch(() => fetch(url))
    return response.text()
  }

  async json<T>(path: string): Promise<T> {
    return JSON.parse(await this.page(path)) as T
  }

  /** The value of one sample of the metrics page; undefined when it is not there. */
  async metric(sample: string): Promise<number | undefined> {
    const line = (await this.page('/metrics'))
      .split('\n')
      .find((each) => each.startsWith(`${sample} `))
    return line === undefined ? undefined : Number(line.slice(sample.length + 1))
  }

  stop(): Promise<number> {
    return this.process.stop()
  }
}

/** Starts `epp sim-engine` and waits until it serves. */
export async function startEngine(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ readonly process: Process; readonly port: number }> {
  const engine = new Process(
    `sim-engine ${args.join(' ')}`,
    process.execPath,
    [MAIN, 'sim-engine', '--log-format', 'json', ...args],
    env,
  )
  const line = await engine.line(({ msg }) => msg === 'Engine serving', 'line "Engine serving"')
  return { process: engine, port: Number(line.port) }
}
