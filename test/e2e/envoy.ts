import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseDocument } from 'yaml'
import { eventually, Process } from './process.ts'

const BINARY = '.cache/envoy-1.40.0/envoy'

/** Whether Envoy is there; in CI it must be. */
export function envoyAvailable(): boolean {
  if (existsSync(BINARY)) return true
  if (process.env.CI) throw new Error(`${BINARY} is missing; run scripts/install-envoy.sh`)
  console.log(`      SKIPPED: ${BINARY} is missing; run scripts/install-envoy.sh`)
  return false
}

/** A real Envoy with the shipped bootstrap, on free ports. */
export class Envoy {
  readonly process: Process
  readonly port: number
  readonly adminPort: number

  constructor(process: Process, port: number, adminPort: number) {
    this.process = process
    this.port = port
    this.adminPort = adminPort
  }

  /** @param edit changes the parsed bootstrap further, such as TLS or metadata */
  static async start(
    grpcPort: number,
    edit: (document: ReturnType<typeof parseDocument>) => void = () => {},
  ): Promise<Envoy> {
    const folder = mkdtempSync(join(tmpdir(), 'epp-envoy-'))
    const document = parseDocument(readFileSync('deploy/envoy/bootstrap.yaml', 'utf8'))
    const listener = ['static_resources', 'listeners', 0, 'address', 'socket_address', 'port_value']
    const picker = ['static_resources', 'clusters', 1, 'load_assignment', 'endpoints', 0]
    document.setIn(['admin', 'address', 'socket_address', 'port_value'], 0)
    document.setIn(listener, 0)
    document.setIn(
      [...picker, 'lb_endpoints', 0, 'endpoint', 'address', 'socket_address', 'port_value'],
      grpcPort,
    )
    edit(document)
    const config = join(folder, 'envoy.yaml')
    const adminFile = join(folder, 'admin')
    writeFileSync(config, document.toString())
    const envoy = new Process('envoy', BINARY, [
      ...['-c', config, '--admin-address-path', adminFile, '--use-dynamic-base-id'],
      ...['--concurrency', '1', '--log-level', 'warning'],
    ])
    try {
      const admin = await eventually('Envoy writes its admin address', () => {
        if (envoy.exitCode !== undefined) throw new Error(envoy.stderr)
        return existsSync(adminFile) ? readFileSync(adminFile, 'utf8') || undefined : undefined
      })
      const port = await eventually('Envoy listens and finds a picker healthy', async () => {
        const clusters = (await (await fetch(`http://${admin}/clusters?format=json`)).json()) as {
          cluster_statuses?: {
            name: string
            host_statuses?: { health_status: { failed_active_health_check?: boolean } }[]
          }[]
        }
        const pickers = clusters.cluster_statuses?.find(({ name }) => name === 'endpoint_picker')
        const healthy = pickers?.host_statuses?.some(
          ({ health_status }) => !health_status.failed_active_health_check,
        )
        if (!healthy) return undefined
        const listeners = (await (await fetch(`http://${admin}/listeners?format=json`)).json()) as {
          listener_statuses?: { local_address: { socket_address: { port_value: number } } }[]
        }
        const ready = await (await fetch(`http://${admin}/ready`)).text()
        return ready.startsWith('LIVE')
          ? listeners.listener_statuses?.[0]?.local_address.socket_address.port_value
          : undefined
      })
      return new Envoy(envoy, port, Number(admin.split(':')[1]))
    } catch (error) {
      await envoy.stop('SIGKILL')
      throw error
    }
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  stop(): Promise<number> {
    return this.process.stop()
  }
}
