import { isIP, isIPv4, isIPv6 } from 'node:net'

/** Whom a topic speaks for. */
export interface KvTopic {
  /** In the form of `canonicalAddress`. */
  readonly address: string
  /** Undefined when the topic names none. */
  readonly port: number | undefined
  /** Base model; may be empty, may contain `/` and `@`. */
  readonly model: string
}

const MAX_TOPIC_BYTES = 1024

/** One spelling for every spelling of an IP address. Anything else is returned as it is. */
export function canonicalAddress(address: string): string {
  if (!isIPv6(address) || address.includes('%')) return address.toLowerCase()
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(canonical)
  if (mapped === null) return canonical
  const high = Number.parseInt(mapped[1]!, 16)
  const low = Number.parseInt(mapped[2]!, 16)
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}

/**
 * Reads `kv@<ip>[:<port>]@<model>`, an IPv6 address in brackets or, without a port, bare.
 *
 * @returns undefined when the topic has another form
 */
export function parseTopic(topic: string): KvTopic | undefined {
  if (!topic.startsWith('kv@') || topic.length > MAX_TOPIC_BYTES) return undefined
  const end = topic.indexOf('@', 3)
  if (end < 0) return undefined
  const host = topic.slice(3, end)
  const model = topic.slice(end + 1)
  if (isIP(host) !== 0) return { address: canonicalAddress(host), port: undefined, model }
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(host)
  if (match === null) return undefined
  const [, bracketed, plain, portText] = match
  if (bracketed !== undefined ? !isIPv6(bracketed) : !isIPv4(plain!)) return undefined
  const port = portText === undefined ? undefined : Number(portText)
  if (port !== undefined && (port < 1 || port > 65535)) return undefined
  return { address: canonicalAddress(bracketed ?? plain!), port, model }
}
