/** What belongs to one hop and is not passed on (RFC 9110, 7.6.1). */
const HOP_BY_HOP = new Set([
  'connection',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
/** What this hop says of its own to the engine. */
const OWN = new Set([...HOP_BY_HOP, 'content-length', 'expect', 'x-request-id'])
/** Tokens of `connection` that name no header. */
const CONNECTION_OPTIONS = new Set(['close', 'keep-alive', 'upgrade'])

/** The headers of a request, read once. */
export interface RequestHeaders {
  /** Names in lower case, pseudo headers included; values of a repeated name are joined. */
  readonly all: Map<string, string>
  /** Names and values in turn, as they came, of those that the engine is sent. */
  readonly forwarded: string[]
  /** Bytes of names and values. */
  readonly bytes: number
}

/**
 * @param raw names and values in turn, as Node gives them
 * @param dropped names in lower case that the engine is not sent either
 */
export function readRequestHeaders(
  raw: readonly string[],
  dropped: ReadonlySet<string>,
): RequestHeaders {
  const all = new Map<string, string>()
  const forwarded: string[] = []
  let bytes = 0
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    const value = raw[i + 1]!
    bytes += name.length + value.length
    const before = all.get(name)
    all.set(
      name,
      before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`,
    )
    if (OWN.has(name) || dropped.has(name) || name.startsWith(':')) continue
    forwarded.push(raw[i]!, value)
  }
  // HTTP/2 has no host: what stands for it is a pseudo header.
  const authority = all.get(':authority')
  if (authority !== undefined && !all.has('host')) {
    all.set('host', authority)
    forwarded.push('host', authority)
  }
  const named = namedByConnection(all.get('connection'))
  return {
    all,
    forwarded: named === undefined ? forwarded : without(forwarded, named),
    bytes,
  }
}

/** The list without the headers of these names, which are in lower case. */
export function without(headers: readonly string[], names: ReadonlySet<string>): string[] {
  const left: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (!names.has(headers[i]!.toLowerCase())) left.push(headers[i]!, headers[i + 1]!)
  }
  return left
}

type ResponseHeaders = Record<string, string | string[]>

/** The headers of an engine's response that the client is sent; names in lower case. */
export function responseHeaders(
  given: Readonly<Record<string, string | string[] | undefined>>,
): ResponseHeaders {
  const kept: ResponseHeaders = {}
  const named = namedByConnection(joined(given.connection))
  for (const name in given) {
    if (HOP_BY_HOP.has(name) || named?.has(name)) continue
    kept[name] = given[name]!
  }
  return kept
}

/** The same for plugins to read: one value for each name. */
export function headerMap(status: number, headers: ResponseHeaders): Map<string, string> {
  const map = new Map([[':status', String(status)]])
  for (const name in headers) map.set(name, joined(headers[name])!)
  return map
}

function joined(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(', ') : value
}

/** The headers that `connection` says are for this hop; undefined for none. */
function namedByConnection(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined) return undefined
  const options = connection.toLowerCase()
  if (CONNECTION_OPTIONS.has(options)) return undefined
  return new Set(options.split(',').map((option) => option.trim()))
}
