/**
 * The ZMQ address of one data-parallel rank's events: the port of a TCP address plus the rank. vLLM does so whether it binds
 * the address or connects to it (`distributed/kv_events.py`, `offset_endpoint_port`).
 *
 * @param endpoint such as `tcp://*:5557`; one with any port (0 or `*`) is the same for all ranks
 */
export function rankEndpoint(endpoint: string, rank: number): string {
  const found = /^(tcp:.*:)([1-9]\d*)$/.exec(endpoint)
  return found === null ? endpoint : `${found[1]}${Number(found[2]) + rank}`
}
