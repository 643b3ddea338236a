import { createServer, type Server } from 'node:http'
import type { ApiServer, AppliedObject } from '../discovery/kubernetes/api-server.ts'
import {
  type Gateway,
  metadataDestination,
  requestBody,
  requestHeaders,
} from '../extproc/client.ts'
import { Epp } from './epp.ts'

export const POOL_V1 = 'inference.networking.k8s.io/v1'
export const POOL_V1ALPHA2 = 'inference.networking.x-k8s.io/v1alpha2'
export const POLICY = 'inferenceextension.alibabacloud.com/v1alpha1'

/** A pod as a kubelet reports it. */
export function pod(
  name: string,
  ip: string,
  more: {
    readonly labels?: Readonly<Record<string, string>>
    readonly ready?: boolean
    readonly terminating?: boolean
    readonly namespace?: string
  } = {},
): AppliedObject {
  const { labels = { app: 'qwen3' }, ready = true, terminating = false, namespace } = more
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      labels,
      ...(namespace !== undefined && { namespace }),
      ...(terminating && { deletionTimestamp: '2026-01-01T00:00:00Z' }),
    },
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    },
  }
}

export function inferencePool(
  name: string,
  more: {
    readonly app?: string
    readonly ports?: readonly number[]
    readonly labels?: object
  } = {},
): AppliedObject {
  const { app = 'qwen3', ports = [8000], labels = {} } = more
  return {
    apiVersion: POOL_V1,
    kind: 'InferencePool',
    metadata: { name, labels: labels as Record<string, string> },
    spec: {
      selector: { matchLabels: { app } },
      targetPorts: ports.map((number) => ({ number })),
      endpointPickerRef: { name: `${name}-picker`, port: { number: 9002 } },
    },
  }
}

export function trafficPolicy(pool: string, trafficPolicy: object): AppliedObject {
  return {
    apiVersion: POLICY,
    kind: 'InferenceTrafficPolicy',
    metadata: { name: 'inference-policy' },
    spec: { poolRef: { name: pool }, profile: { single: { trafficPolicy } } },
  }
}

/** Model servers that say that they are idle, at one port of several addresses. */
export class IdleServers {
  readonly #servers: readonly Server[]

  private constructor(servers: readonly Server[]) {
    this.#servers = servers
  }

  static async start(addresses: readonly string[], port: number, model: string) {
    const page =
      'vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n'
    const models = JSON.stringify({ object: 'list', data: [{ id: model, object: 'model' }] })
    const servers = addresses.map(() =>
      createServer((request, response) => {
        if (request.url === '/metrics') response.end(page)
        else if (request.url === '/v1/models') response.end(models)
        else response.writeHead(404).end()
      }),
    )
    await Promise.all(
      servers.map(
        (server, i) =>
          new Promise<void>((done, failed) => {
            server.once('error', failed)
            server.listen(port, addresses[i], done)
          }),
      ),
    )
    return new IdleServers(servers)
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#servers.map((server) => {
        server.closeAllConnections()
        return new Promise<void>((done) => server.close(() => done()))
      }),
    )
  }
}

export interface EndpointPage {
  readonly pool?: string
  readonly name: string
  readonly address: string
  readonly rank: number
  readonly labels: Readonly<Record<string, string>>
  readonly state: string
  readonly coverage?: string
  readonly blocks: number
}

/** An API server and a picker that follows it. */
export class Cluster {
  readonly api: ApiServer
  readonly epp: Epp

  private constructor(api: ApiServer, epp: Epp) {
    this.api = api
    this.epp = epp
  }

  static async start(api: ApiServer, args: readonly string[]): Promise<Cluster> {
    await api.start()
    try {
      const epp = await Epp.start(['--kubeconfig', api.kubeconfigFile(), ...args])
      return new Cluster(api, epp)
    } catch (error) {
      await api.close()
      throw error
    }
  }

  endpoints(): Promise<readonly EndpointPage[]> {
    return this.epp.json('/endpoints')
  }

  async stop(): Promise<void> {
    await this.epp.stop()
    await this.api.close()
  }
}

/** Where the picker sends a completion request, or the status with which it refuses it. */
export async function ask(
  gateway: Gateway,
  request: {
    readonly model?: string
    readonly id?: string
    readonly headers?: Readonly<Record<string, string>>
  } = {},
): Promise<string | number> {
  const exchange = gateway.open()
  const body = JSON.stringify({ model: request.model ?? 'Qwen3-32B', prompt: 'hello' })
  exchange.send(
    requestHeaders({ 'x-request-id': request.id ?? 'r', ...request.headers }),
    requestBody(body, true),
  )
  const answers = await exchange.untilEnd('requestBody')
  exchange.cancel()
  const [first] = answers
  return first?.immediateResponse?.status.code ?? metadataDestination(first) ?? 0
}
