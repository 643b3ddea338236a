import type { Header } from './static-table.ts'

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/
const FORBIDDEN_IN_VALUE = /[\0\r\n]/
/** They are the request line of HTTP/1. */
const PSEUDO: ReadonlySet<string> = new Set([':method', ':scheme', ':path', ':authority'])
/** They say how a connection of HTTP/1 is used; HTTP/2 forbids them. */
const OF_CONNECTION: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

/** The headers of a request. */
export class RequestHeaders {
  readonly #headers: readonly Header[]
  /** What they are counted as. Source: RFC 9113, section 6.5.2. */
  readonly bytes: number

  constructor(headers: readonly Header[], bytes: number) {
    this.#headers = headers
    this.bytes = bytes
  }

  /** The first value of the header `name`, in lower case; undefined when it is absent. */
  get(name: string): string | undefined {
    for (const header of this.#headers) if (header[0] === name) return header[1]
    return undefined
  }
}

/** What makes these no headers of a request, in a few words; undefined where nothing does. Source: RFC 9113, section 8. */
export function malformation(headers: readonly Header[]): string | undefined {
  const seen = new Set<string>()
  let isRegular = false
  for (const [name, value] of headers) {
    if (FORBIDDEN_IN_VALUE.test(value)) return `the value of ${name} is none`
    if (name.charCodeAt(0) === 0x3a) {
      if (isRegular) return `${name} comes after other headers`
      if (!PSEUDO.has(name) || seen.has(name)) return `${name} is unknown or comes twice`
      if (name === ':path' && value === '') return 'the path is empty'
      seen.add(name)
      continue
    }
    isRegular = true
    const reason = malformedHeader(name, value)
    if (reason !== undefined) return reason
  }
  const isWhole = seen.has(':method') && seen.has(':scheme') && seen.has(':path')
  return isWhole ? undefined : 'a method, scheme or path is missing'
}

/** What makes these no trailers of a request, as `malformation`. */
export function trailerMalformation(headers: readonly Header[]): string | undefined {
  for (const [name, value] of headers) {
    if (FORBIDDEN_IN_VALUE.test(value)) return `the value of ${name} is none`
    const reason = malformedHeader(name, value)
    if (reason !== undefined) return reason
  }
  return undefined
}

function malformedHeader(name: string, value: string): string | undefined {
  if (!NAME.test(name)) return 'a name is none'
  if (OF_CONNECTION.has(name)) return `${name} is a header of HTTP/1`
  return name === 'te' && value !== 'trailers' ? 'te is not trailers' : undefined
}
