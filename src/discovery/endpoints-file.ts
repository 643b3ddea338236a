import { type EndpointSpec, hostPort } from '../framework/endpoint.ts'
import { DEFAULT_LIMITS } from '../framework/limits.ts'
import { addressFault, parseAddress, parsePort } from './address.ts'

/** Where a value stands in a text; both count from 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** A YAML or JSON text as the reader of the host gives it. */
export interface PlacedDocument {
  readonly value: unknown
  /** What is wrong with the text itself; its value is then not to be used. */
  readonly faults: readonly (Place & { readonly message: string })[]
  place(path: readonly (string | number)[], part: 'key' | 'value'): Place
}

/** Reads a YAML or JSON text; never throws for what it holds. */
export type DocumentReader = (text: string) => PlacedDocument

/** What an endpoints file says. */
export interface EndpointsFile {
  /** Complete only when there is no error. */
  readonly specs: readonly EndpointSpec[]
  /** `file:line:column  path: message`, in the order in which they were found. */
  readonly errors: readonly string[]
  readonly warnings: readonly string[]
}

const ENTRY_FIELDS = [
  'name',
  'namespace',
  'address',
  'port',
  'ports',
  'labels',
  'metricsPort',
  'uid',
]

type Path = readonly (string | number)[]

/**
 * Reads `{endpoints: [{name, namespace?, address, port | ports, labels?, metricsPort?}]}`, the shape of llm-d's file
 * discovery. Several ports under one namespace, name and address are the ranks of one server, in the order of the file.
 */
export function readEndpointsFile(
  text: string,
  file: string,
  read: DocumentReader,
  maxEndpoints: number = DEFAULT_LIMITS.maxEndpoints,
): EndpointsFile {
  const document = read(text)
  const errors: string[] = []
  const warnings: string[] = []
  const say = (list: string[], path: Path, message: string, part: 'key' | 'value' = 'value') => {
    const { line, column } = document.place(path, part)
    const at = pathText(path)
    list.push(`${file}:${line}:${column}  ${at === '' ? '' : `${at}: `}${message}`)
  }
  const specs: EndpointSpec[] = []
  const done = () => ({ specs: errors.length === 0 ? specs : [], errors, warnings })

  for (const { line, column, message } of document.faults) {
    errors.push(`${file}:${line}:${column}  ${message}`)
  }
  if (errors.length > 0) return done()
  const root = document.value
  if (!isFields(root) || !Array.isArray(root.endpoints)) {
    const path = isFields(root) && root.endpoints !== undefined ? ['endpoints'] : []
    say(errors, path, 'must hold a list "endpoints"; for none, write endpoints: []')
    return done()
  }
  for (const key of Object.keys(root)) {
    if (key !== 'endpoints') say(warnings, [key], `unknown field "${key}" is ignored`, 'key')
  }
  if (root.endpoints.length > maxEndpoints) {
    say(errors, ['endpoints'], `has more than ${maxEndpoints} entries (--max-endpoints)`)
    return done()
  }

  const ranks = new Map<string, number>()
  const taken = new Map<string, Path>()
  for (const [index, entry] of root.endpoints.entries()) {
    const path: Path = ['endpoints', index]
    const reader = new EntryReader(entry, path, (at, message) => say(errors, at, message))
    for (const key of isFields(entry) ? Object.keys(entry) : []) {
      if (ENTRY_FIELDS.includes(key)) continue
      say(warnings, [...path, key], `unknown field "${key}" is ignored`, 'key')
    }
    const server = reader.server()
    if (server === undefined) continue
    const { ports, ...rest } = server
    const identity = `${rest.namespace}/${rest.name} ${rest.address}`
    for (const { port, path: at } of ports) {
      const key = hostPort(rest.address, port)
      const first = taken.get(key)
      if (first !== undefined) {
        const { line } = document.place(first, 'value')
        say(errors, at, `${key} is there already, in line ${line}; remove one`)
        continue
      }
      taken.set(key, at)
      const rank = ranks.get(identity) ?? 0
      ranks.set(identity, rank + 1)
      specs.push({ ...rest, port, rank })
    }
  }
  return done()
}

type Server = Omit<EndpointSpec, 'port' | 'rank'> & {
  readonly ports: readonly { readonly port: number; readonly path: Path }[]
}

/** The fields of one entry, each checked. */
class EntryReader {
  readonly #fields: Readonly<Record<string, unknown>>
  readonly #path: Path
  readonly #error: (path: Path, message: string) => void
  #faults = 0

  constructor(entry: unknown, path: Path, error: (path: Path, message: string) => void) {
    this.#path = path
    this.#error = (at, message) => {
      this.#faults++
      error(at, message)
    }
    this.#fields = isFields(entry) ? entry : {}
    if (!isFields(entry)) this.#error(path, `must be an object, got ${JSON.stringify(entry)}`)
  }

  /** Undefined when something is wrong, which has been said then. */
  server(): Server | undefined {
    if (this.#faults > 0) return undefined
    const name = this.#text('name')
    if (this.#fields.name === undefined) this.#error(this.#path, '"name" is missing')
    const namespace = this.#text('namespace') ?? 'default'
    const address = this.#address()
    const ports = this.#ports()
    const labels = this.#labels()
    const metricsPort =
      this.#fields.metricsPort === undefined
        ? undefined
        : this.#port(this.#fields.metricsPort, [...this.#path, 'metricsPort'])
    const uid = this.#text('uid')
    if (this.#faults > 0 || name === undefined || address === undefined) return undefined
    return {
      namespace,
      name,
      address,
      ports,
      labels,
      ...(metricsPort !== undefined && { metricsPort }),
      ...(uid !== undefined && { uid }),
    }
  }

  #text(key: string): string | undefined {
    const value = this.#fields[key]
    if (value === undefined) return undefined
    if (typeof value === 'string' && value !== '' && value.length <= 253) return value
    this.#error(
      [...this.#path, key],
      `must be a string of 1 to 253 characters, got ${JSON.stringify(value)}`,
    )
    return undefined
  }

  #address(): string | undefined {
    const value = this.#fields.address
    if (value === undefined) {
      this.#error(this.#path, '"address" is missing')
      return undefined
    }
    const address = typeof value === 'string' ? parseAddress(value.trim()) : undefined
    if (address === undefined) this.#error([...this.#path, 'address'], addressFault(String(value)))
    return address
  }

  #ports(): Server['ports'] {
    const { port, ports } = this.#fields
    if (port !== undefined && ports !== undefined) {
      this.#error([...this.#path, 'ports'], '"ports" beside "port"; keep one')
      return []
    }
    if (ports !== undefined && (!Array.isArray(ports) || ports.length === 0)) {
      this.#error([...this.#path, 'ports'], 'must be a list of ports, one per rank')
      return []
    }
    if (port === undefined && ports === undefined) {
      this.#error(this.#path, '"port" is missing')
      return []
    }
    const listed = Array.isArray(ports)
      ? ports.map((value, index) => ({ value, path: [...this.#path, 'ports', index] }))
      : [{ value: port, path: [...this.#path, 'port'] }]
    return listed.flatMap(({ value, path }) => {
      const checked = this.#port(value, path)
      return checked === undefined ? [] : { port: checked, path }
    })
  }

  #port(value: unknown, path: Path): number | undefined {
    const port = parsePort(value)
    if (port === undefined) {
      this.#error(path, `must be a port from 1 to 65535, got ${JSON.stringify(value)}`)
    }
    return port
  }

  #labels(): Readonly<Record<string, string>> {
    const value = this.#fields.labels ?? {}
    if (!isFields(value)) {
      this.#error([...this.#path, 'labels'], `must be an object, got ${JSON.stringify(value)}`)
      return {}
    }
    const labels: Record<string, string> = {}
    for (const [key, label] of Object.entries(value)) {
      if (typeof label === 'string') labels[key] = label
      else {
        const path = [...this.#path, 'labels', key]
        this.#error(path, `must be a string (write it in quotes), got ${JSON.stringify(label)}`)
      }
    }
    return labels
  }
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function pathText(path: Path): string {
  return path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text === '' ? part : `${text}.${part}`,
    '',
  )
}
