import { type Document, parseDocument } from 'yaml'
import { Envoy } from '../envoy.ts'
import { eventually } from '../process.ts'
import { type Cell, DIMENSIONS } from './cells.ts'

const EXT_PROC = 'envoy.filters.http.ext_proc'
const TYPES = 'type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3'
const MANAGER = ['filter_chains', 0, 'filters', 0, 'typed_config']
const MEBIBYTE = 1024 * 1024

/**
 * Listeners by how much Envoy buffers: as shipped, enough for any body of the matrix, and what Envoy has by default. A
 * processing mode in which no body is full duplex may be overridden on the roomy one alone. On the last one Envoy takes no
 * answers.
 */
export const LISTENERS = ['shipped', 'roomy', 'default', 'observed'] as const
export type ListenerName = (typeof LISTENERS)[number]

type Modes = Pick<Cell, 'requestMode' | 'responseMode' | 'responses'>

/** The virtual host that has these modes. */
export function hostOf({ requestMode, responseMode, responses }: Modes): string {
  return `${requestMode}.${responseMode}.${responses}.test`.toLowerCase().replace('=', '-')
}

function processingMode({
  requestMode,
  responseMode,
}: Pick<Modes, 'requestMode' | 'responseMode'>) {
  const isHidden = responseMode === 'HIDDEN'
  return {
    request_header_mode: 'SEND',
    response_header_mode: isHidden ? 'SKIP' : 'SEND',
    request_body_mode: requestMode,
    response_body_mode: isHidden ? 'NONE' : responseMode,
    request_trailer_mode: requestMode === 'FULL_DUPLEX_STREAMED' ? 'SEND' : 'SKIP',
    response_trailer_mode: responseMode === 'FULL_DUPLEX_STREAMED' ? 'SEND' : 'SKIP',
  }
}

/** A real Envoy with one virtual host for each combination of modes and pickers. */
export class ModeGateway {
  readonly envoy: Envoy
  readonly #ports: ReadonlyMap<string, number>

  private constructor(envoy: Envoy, ports: ReadonlyMap<string, number>) {
    this.envoy = envoy
    this.#ports = ports
  }

  /** @param pickers gRPC port by what the picker's `--responses` says */
  static async start(pickers: ReadonlyMap<string, number>): Promise<ModeGateway> {
    const [first] = pickers.values()
    const envoy = await Envoy.start(first!, (document) => configure(document, pickers))
    try {
      const admin = `http://127.0.0.1:${envoy.adminPort}`
      const ports = await eventually('all listeners are open', async () => {
        const { listener_statuses: listeners = [] } = (await (
          await fetch(`${admin}/listeners?format=json`)
        ).json()) as {
          listener_statuses?: {
            name: string
            local_address: { socket_address: { port_value: number } }
          }[]
        }
        if (listeners.length < LISTENERS.length) return undefined
        return new Map(
          listeners.map(({ name, local_address: at }) => [name, at.socket_address.port_value]),
        )
      })
      const gateway = new ModeGateway(envoy, ports)
      await eventually('all pickers are healthy', async () => {
        const page = await (await fetch(`${admin}/clusters`)).text()
        return !page.includes('health_flags::/failed_active_hc') || undefined
      })
      return gateway
    } catch (error) {
      await envoy.stop()
      throw error
    }
  }

  port(listener: ListenerName): number {
    return this.#ports.get(listener)!
  }

  /** Messages that Envoy has sent to pickers for requests that came in there. */
  async messagesSent(listener: ListenerName): Promise<number> {
    const name = `http.${listener}.ext_proc.stream_msgs_sent`
    const page = await fetch(`http://127.0.0.1:${this.envoy.adminPort}/stats?filter=${name}$`)
    return Number((await page.text()).trim().split(': ')[1])
  }

  stop(): Promise<number> {
    return this.envoy.stop()
  }
}

function configure(document: Document, pickers: ReadonlyMap<string, number>): void {
  const shape = document.toJS() as {
    static_resources: {
      listeners: Record<string, unknown>[]
      clusters: { name: string; load_assignment?: { cluster_name: string } }[]
    }
  }
  const [clients] = shape.static_resources.listeners
  const [models, picker] = shape.static_resources.clusters
  const clusters = [...pickers].map(([responses, port], i) => {
    const cluster = parseDocument(JSON.stringify(picker))
    cluster.set('name', clusterName(responses, i))
    cluster.setIn(
      [
        ...['load_assignment', 'endpoints', 0, 'lb_endpoints', 0, 'endpoint'],
        ...['address', 'socket_address', 'port_value'],
      ],
      port,
    )
    return cluster.toJS() as object
  })
  const hosts = [...pickers.keys()].flatMap((responses, i) =>
    DIMENSIONS.requestMode.flatMap((requestMode) =>
      DIMENSIONS.responseMode.map((responseMode) => {
        const modes = { requestMode, responseMode, responses: responses as Cell['responses'] }
        return {
          name: hostOf(modes),
          domains: [hostOf(modes)],
          routes: [
            {
              match: { prefix: '/' },
              route: { cluster: 'model_servers', timeout: '600s' },
              typed_per_filter_config: {
                [EXT_PROC]: {
                  '@type': `${TYPES}.ExtProcPerRoute`,
                  overrides: {
                    processing_mode: processingMode(modes),
                    grpc_service: { envoy_grpc: { cluster_name: clusterName(responses, i) } },
                  },
                },
              },
            },
          ],
        }
      }),
    ),
  )
  const listeners = LISTENERS.map((name) => {
    const listener = parseDocument(JSON.stringify(clients))
    listener.set('name', name)
    if (name === 'roomy') listener.set('per_connection_buffer_limit_bytes', 32 * MEBIBYTE)
    if (name === 'default') listener.delete('per_connection_buffer_limit_bytes')
    listener.setIn([...MANAGER, 'stat_prefix'], name)
    listener.setIn([...MANAGER, 'route_config', 'virtual_hosts'], hosts)
    if (name === 'roomy') {
      const filter = [...MANAGER, 'http_filters', 0, 'typed_config']
      const modes = { requestMode: 'NONE', responseMode: 'NONE' } as const
      listener.setIn([...filter, 'processing_mode'], processingMode(modes))
      listener.setIn([...filter, 'allow_mode_override'], true)
    }
    if (name === 'observed') {
      const filter = [...MANAGER, 'http_filters', 0, 'typed_config']
      const modes = { requestMode: 'STREAMED', responseMode: 'STREAMED' } as const
      listener.setIn([...filter, 'processing_mode'], processingMode(modes))
      listener.setIn([...filter, 'observability_mode'], true)
    }
    return listener.toJS() as object
  })
  document.setIn(['static_resources', 'listeners'], document.createNode(listeners))
  document.setIn(['static_resources', 'clusters'], document.createNode([models, ...clusters]))
}

/** The first keeps the name by which its health is waited for. */
function clusterName(responses: string, index: number): string {
  return index === 0 ? 'endpoint_picker' : `endpoint_picker_${responses.replace('=', '_')}`
}
