import { FieldReader, LENGTH_DELIMITED } from './wire.ts'

/** Which of Envoy's messages it is: the field number in `ProcessingRequest`, 0 for one that is not known here. */
export const MESSAGE = {
  none: 0,
  requestHeaders: 2,
  responseHeaders: 3,
  requestBody: 4,
  responseBody: 5,
  requestTrailers: 6,
  responseTrailers: 7,
} as const

/** How Envoy sends a body (`ProcessingMode.BodySendMode`). */
export const BODY_MODE = {
  none: 0,
  streamed: 1,
  buffered: 2,
  bufferedPartial: 3,
  fullDuplexStreamed: 4,
  grpc: 5,
} as const

const METADATA_CONTEXT = 8
const OBSERVABILITY_MODE = 10
const PROTOCOL_CONFIG = 11

const SUBSET_NAMESPACE = 'envoy.lb.subset_hint'
const SUBSET_KEY = 'x-gateway-destination-endpoint-subset'
const SERVED_NAMESPACE = 'envoy.lb'
const SERVED_KEY = 'x-gateway-destination-endpoint-served'

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are ASCII, too.
const NOT_ASCII = /[^\x00-\x7f]/

// One set for all messages: reading is synchronous and never re-entered.
const outer = new FieldReader()
const middle = new FieldReader()
const inner = new FieldReader()

/**
 * One `envoy.service.ext_proc.v3.ProcessingRequest`, read in place.
 *
 * An instance is used again for message after message; what it points to belongs to the buffer of the last `read`.
 * Field numbers: https://github.com/envoyproxy/envoy/blob/main/api/envoy/service/ext_proc/v3/external_processor.proto
 */
export class ProcessingRequest {
  #bytes: Buffer = Buffer.alloc(0)
  #headersStart = 0
  #headersEnd = 0
  /** A body message's bytes are `[bodyStart, bodyEnd)` of the buffer that it was read from. */
  bodyStart = 0
  bodyEnd = 0
  #metadataStart = 0
  #metadataEnd = 0
  kind = 0
  endOfStream = false
  /** True when Envoy only shows its traffic and takes no answer. */
  observing = false
  /** True when the message states the modes of the two bodies. */
  hasModes = false
  requestBodyMode = 0
  responseBodyMode = 0

  /** Reads `bytes[start, end)`; false when they are not such a message. */
  read(bytes: Buffer, start = 0, end = bytes.length): boolean {
    this.#bytes = bytes
    this.kind = MESSAGE.none
    this.endOfStream = false
    this.observing = false
    this.hasModes = false
    this.#headersStart = this.#headersEnd = 0
    this.bodyStart = this.bodyEnd = 0
    this.#metadataStart = this.#metadataEnd = 0
    outer.reset(bytes, start, end)
    while (outer.next()) {
      if (outer.wireType !== LENGTH_DELIMITED) {
        if (outer.field === OBSERVABILITY_MODE) this.observing = outer.value !== 0
        continue
      }
      if (outer.field >= MESSAGE.requestHeaders && outer.field <= MESSAGE.responseTrailers) {
        this.kind = outer.field
        if (!this.#readPart(outer.field, outer.start, outer.end)) return false
      } else if (outer.field === METADATA_CONTEXT) {
        this.#metadataStart = outer.start
        this.#metadataEnd = outer.end
      } else if (outer.field === PROTOCOL_CONFIG) {
        if (!this.#readModes(outer.start, outer.end)) return false
      }
    }
    return !outer.malformed
  }

  /** The bytes of a body message, not copied. */
  body(): Buffer {
    return this.#bytes.subarray(this.bodyStart, this.bodyEnd)
  }

  /** Bytes that the headers take in the message, names, values and framing. */
  headerBytes(): number {
    return this.#headersEnd - this.#headersStart
  }

  /**
   * The headers of a headers message: names in lower case, values of a repeated name joined with `, `, bytes read as
   * UTF-8. Undefined when they do not decode.
   */
  headers(): Map<string, string> | undefined {
    const headers = new Map<string, string>()
    const text = this.#headersText()
    middle.reset(this.#bytes, this.#headersStart, this.#headersEnd)
    while (middle.next()) {
      if (middle.field !== 1 || middle.wireType !== LENGTH_DELIMITED) continue
      let name = ''
      let value = ''
      let hasRawValue = false
      inner.reset(this.#bytes, middle.start, middle.end)
      while (inner.next()) {
        if (inner.wireType !== LENGTH_DELIMITED) continue
        if (inner.field === 1) name = text(inner.start, inner.end).toLowerCase()
        else if (inner.field === 2 && !hasRawValue) value = text(inner.start, inner.end)
        else if (inner.field === 3 && inner.end > inner.start) {
          hasRawValue = true
          value = text(inner.start, inner.end)
        }
      }
      if (inner.malformed) return undefined
      const earlier = headers.get(name)
      headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`)
    }
    return middle.malformed ? undefined : headers
  }

  /** Reads text out of the headers. As a rule they are ASCII, framing included, and are then decoded as a whole. */
  #headersText(): (start: number, end: number) => string {
    const from = this.#headersStart
    const whole = this.#bytes.toString('latin1', from, this.#headersEnd)
    if (NOT_ASCII.test(whole)) return (start, end) => this.#text(start, end)
    return (start, end) => whole.slice(start - from, end - from)
  }

  /**
   * The endpoints that the gateway allows, as it wrote them: from a list of strings or from one string with commas.
   * Undefined without the key; empty where the value is of another type; null where the metadata does not decode.
   * Source: https://github.com/kubernetes-sigs/gateway-api-inference-extension, docs/proposals/004-endpoint-picker-protocol
   */
  subset(): string[] | undefined | null {
    return this.#metadataStrings(SUBSET_NAMESPACE, SUBSET_KEY)
  }

  /**
   * The endpoint that served the request, as the gateway says with its response; undefined where it does not, null
   * where the metadata does not decode. Source: as of `subset`.
   */
  servedEndpoint(): string | undefined | null {
    const strings = this.#metadataStrings(SERVED_NAMESPACE, SERVED_KEY)
    return strings === null ? null : strings?.join(',') || undefined
  }

  #metadataStrings(namespace: string, key: string): string[] | undefined | null {
    if (this.#metadataStart === this.#metadataEnd) return undefined
    const metadata = this.#mapEntry(this.#metadataStart, this.#metadataEnd, namespace)
    if (!metadata) return metadata
    const value = this.#mapEntry(metadata.start, metadata.end, key)
    if (!value) return value
    return this.#stringsOf(value)
  }

  #readPart(kind: number, start: number, end: number): boolean {
    const isBody = kind === MESSAGE.requestBody || kind === MESSAGE.responseBody
    const isTrailers = kind === MESSAGE.requestTrailers || kind === MESSAGE.responseTrailers
    const endOfStreamField = isBody ? 2 : 3
    middle.reset(this.#bytes, start, end)
    while (middle.next()) {
      if (middle.wireType === LENGTH_DELIMITED) {
        if (middle.field !== 1) continue
        if (isBody) {
          this.bodyStart = middle.start
          this.bodyEnd = middle.end
        } else {
          this.#headersStart = middle.start
          this.#headersEnd = middle.end
        }
      } else if (middle.field === endOfStreamField && !isTrailers) {
        this.endOfStream = middle.value !== 0
      }
    }
    return !middle.malformed
  }

  #readModes(start: number, end: number): boolean {
    this.hasModes = true
    this.requestBodyMode = this.responseBodyMode = BODY_MODE.none
    middle.reset(this.#bytes, start, end)
    while (middle.next()) {
      if (middle.field === 1) this.requestBodyMode = middle.value
      else if (middle.field === 2) this.responseBodyMode = middle.value
    }
    return !middle.malformed
  }

  #text(start: number, end: number): string {
    return this.#bytes.toString('utf8', start, end)
  }

  /** The value of `key` in a message whose field 1 is a map from strings to messages. */
  #mapEntry(start: number, end: number, key: string): Range | undefined | null {
    const entries = new FieldReader().reset(this.#bytes, start, end)
    let found: Range | undefined
    while (entries.next()) {
      if (entries.field !== 1 || entries.wireType !== LENGTH_DELIMITED) continue
      const entry = new FieldReader().reset(this.#bytes, entries.start, entries.end)
      let name = ''
      let value: Range = { start: 0, end: 0 }
      while (entry.next()) {
        if (entry.wireType !== LENGTH_DELIMITED) continue
        if (entry.field === 1) name = this.#text(entry.start, entry.end)
        else if (entry.field === 2) value = { start: entry.start, end: entry.end }
      }
      if (entry.malformed) return null
      if (name === key) found = value
    }
    return entries.malformed ? null : found
  }

  /** The strings of a `google.protobuf.Value` that is a string or a list of strings. */
  #stringsOf(range: Range): string[] | null {
    const value = new FieldReader().reset(this.#bytes, range.start, range.end)
    let strings: string[] = []
    while (value.next()) {
      if (value.wireType !== LENGTH_DELIMITED) continue
      if (value.field === 3) {
        strings = splitList(this.#text(value.start, value.end))
      } else if (value.field === 6) {
        strings = []
        const list = new FieldReader().reset(this.#bytes, value.start, value.end)
        while (list.next()) {
          if (list.field !== 1 || list.wireType !== LENGTH_DELIMITED) continue
          const item = new FieldReader().reset(this.#bytes, list.start, list.end)
          while (item.next()) {
            if (item.field === 3 && item.wireType === LENGTH_DELIMITED) {
              strings.push(...splitList(this.#text(item.start, item.end)))
            }
          }
          if (item.malformed) return null
        }
        if (list.malformed) return null
      }
    }
    return value.malformed ? null : strings
  }
}

interface Range {
  readonly start: number
  readonly end: number
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}
