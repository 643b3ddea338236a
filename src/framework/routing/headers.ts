import { randomUUID } from 'node:crypto'

export const REQUEST_ID_HEADER = 'x-request-id'

/** Tells a model server that has several data-parallel ranks behind one port which one is meant, as vLLM reads it. */
export const DATA_PARALLEL_RANK = 'x-data-parallel-rank'

/** Asks for another model than the body names; the first name wins. */
export const MODEL_REWRITE_HEADERS = [
  'x-llm-d-model-name-rewrite',
  'x-gateway-model-name-rewrite',
] as const

/** Name the InferenceObjective that gives the request its priority; the first name wins. */
export const OBJECTIVE_HEADERS = [
  'x-llm-d-inference-objective',
  'x-gateway-inference-objective',
] as const

/** The value of the first of these headers that has one. */
export function firstHeader(
  headers: ReadonlyMap<string, string>,
  names: readonly string[],
): { readonly name: string; readonly value: string } | undefined {
  for (const name of names) {
    const value = headers.get(name)
    if (value) return { name, value }
  }
  return undefined
}

/** Headers that steer the picker or belong to it: taken off the request unless a plugin sets them. */
export const CONTROL_HEADERS: readonly string[] = [
  ...MODEL_REWRITE_HEADERS,
  ...OBJECTIVE_HEADERS,
  'x-llm-d-inference-fairness-id',
  'x-gateway-inference-fairness-id',
  'x-llm-d-slo-ttft-ms',
  'x-llm-d-slo-tpot-ms',
  'x-slo-ttft-ms',
  'x-slo-tpot-ms',
  'x-llm-d-video-fps',
  'x-llm-d-video-duration-seconds',
  'x-llm-d-video-resolution',
  'x-llm-d-request-dropped-reason',
  'x-gateway-destination-endpoint-subset',
  'x-gateway-destination-endpoint-served',
  'x-gateway-destination-endpoint-scores',
  'x-prefiller-host-port',
  'x-encoder-hosts-ports',
  'x-data-parallel-host-port',
  'x-kv-cache-source-host-port',
  'test-epp-endpoint-selection',
]

/** Path without query; the original one where a gateway has rewritten it. */
export function requestPath(headers: ReadonlyMap<string, string>): string {
  const path =
    headers.get(':path') ?? headers.get('x-original-path') ?? headers.get('x-forwarded-path')
  const query = path?.indexOf('?') ?? -1
  return (query < 0 ? path : path!.slice(0, query)) ?? '/v1/completions'
}

/** The client's request id if it is printable and at most 128 characters, else a new UUID. */
export function requestId(headers: ReadonlyMap<string, string>): string {
  const id = headers.get(REQUEST_ID_HEADER)
  return id !== undefined && /^[\x21-\x7e]{1,128}$/.test(id) ? id : randomUUID()
}
