import type { Endpoint } from '../../framework/endpoint.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import type { Decision } from '../../framework/routing/decision.ts'
import type { Chosen, SessionAffinity } from './session-affinity.ts'

/** A Kubernetes namespace and name in base64 are shorter. */
const MAX_TOKEN_CHARACTERS = 1024

/**
 * Lets the client remember: each response has a header that names the endpoint, and a request that brings it back is bound
 * to that endpoint.
 *
 * The value is base64 of `namespace/name-rank-N`, as llm-d writes it: not a secret, and not signed.
 */
export class EncodedEndpointHeader implements SessionAffinity {
  readonly #header: string
  readonly #chosen: Chosen
  readonly #endpoints = new WeakMap<InferenceRequest, Endpoint>()

  constructor(header: string, chosen: Chosen) {
    this.#header = header.toLowerCase()
    this.#chosen = chosen
  }

  bound(request: InferenceRequest, endpoints: readonly Endpoint[]): Endpoint | undefined {
    const token = request.headers.get(this.#header)
    if (token === undefined || token.length > MAX_TOKEN_CHARACTERS) return undefined
    const name = Buffer.from(token, 'base64').toString('utf8')
    return endpoints.find((endpoint) => fullName(endpoint) === name)
  }

  picked(request: InferenceRequest, target: Endpoint, decision: Decision): void {
    const endpoint = this.#chosen(target, decision)
    if (endpoint) this.#endpoints.set(request, endpoint)
  }

  responseHeaders(request: InferenceRequest): ReadonlyMap<string, string> | undefined {
    const endpoint = this.#endpoints.get(request)
    return endpoint && new Map([[this.#header, Buffer.from(fullName(endpoint)).toString('base64')]])
  }
}

function fullName({ namespace, name, rank }: Endpoint): string {
  return `${namespace}/${name}-rank-${rank}`
}
