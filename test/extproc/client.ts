import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceDefinition,
  type StatusObject,
  status,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

const proto = (name: string) =>
  fileURLToPath(new URL(`../../schemas/proto/${name}.proto`, import.meta.url))
const options = { oneofs: true, enums: String, longs: Number, bytes: Buffer } as const
const service = (file: string, name: string) =>
  loadSync(proto(file), options)[name] as ServiceDefinition

export const processMethod = service('ext_proc', 'envoy.service.ext_proc.v3.ExternalProcessor')
  .Process as MethodDefinition<ProcessingRequest, ProcessingResponse>
const healthMethods = service('health', 'grpc.health.v1.Health')

type HeaderList = {
  readonly headers: readonly {
    readonly key: string
    readonly value?: string
    readonly rawValue?: Buffer
  }[]
}
interface HttpHeaders {
  readonly headers?: HeaderList
  readonly endOfStream?: boolean
}
interface HttpBody {
  readonly body?: Buffer
  readonly endOfStream?: boolean
}
interface HttpTrailers {
  readonly trailers?: HeaderList
}
type BodyMode =
  | 'NONE'
  | 'STREAMED'
  | 'BUFFERED'
  | 'BUFFERED_PARTIAL'
  | 'FULL_DUPLEX_STREAMED'
  | 'GRPC'

/** What Envoy sends, in proto-loader's spelling. */
export interface ProcessingRequest {
  readonly requestHeaders?: HttpHeaders
  readonly responseHeaders?: HttpHeaders
  readonly requestBody?: HttpBody
  readonly responseBody?: HttpBody
  readonly requestTrailers?: HttpTrailers
  readonly responseTrailers?: HttpTrailers
  readonly metadataContext?: unknown
  readonly observabilityMode?: boolean
  readonly protocolConfig?: {
    readonly requestBodyMode?: BodyMode
    readonly responseBodyMode?: BodyMode
  }
}

interface HeaderMutation {
  readonly setHeaders?: readonly {
    readonly header: { readonly key: string; readonly value?: string; readonly rawValue: Buffer }
    readonly appendAction?: number
  }[]
  readonly removeHeaders?: readonly string[]
}
interface CommonResponse {
  readonly response?: {
    readonly headerMutation?: HeaderMutation
    readonly bodyMutation?: {
      readonly mutation: string
      readonly body?: Buffer
      readonly streamedResponse?: { readonly body?: Buffer; readonly endOfStream?: boolean }
    }
    readonly clearRouteCache?: boolean
  }
}

/** What comes back; `response` names the field that is set. */
export interface ProcessingResponse {
  readonly response: string
  readonly requestHeaders?: CommonResponse
  readonly responseHeaders?: CommonResponse
  readonly requestBody?: CommonResponse
  readonly responseBody?: CommonResponse
  readonly requestTrailers?: unknown
  readonly responseTrailers?: unknown
  readonly immediateResponse?: {
    readonly status: { readonly code: number }
    readonly headers?: HeaderMutation
    readonly body: Buffer
    readonly details?: string
  }
  readonly dynamicMetadata?: unknown
  readonly modeOverride?: unknown
}

/** A gateway: a plain gRPC client of an ext_proc server. */
export class Gateway {
  readonly #client: Client
  readonly #metadata = new Metadata()

  /** @param call how the gateway names the pool that it calls for */
  constructor(
    address: string,
    channel: ChannelCredentials = credentials.createInsecure(),
    call: { readonly authority?: string; readonly pool?: string } = {},
  ) {
    this.#client = new Client(address, channel, {
      'grpc.max_receive_message_length': -1,
      ...(call.authority !== undefined && { 'grpc.default_authority': call.authority }),
    })
    if (call.pool !== undefined) this.#metadata.set('x-epp-pool', call.pool)
  }

  /** Opens the stream of one request. */
  open(): Exchange {
    return new Exchange(
      this.#client.makeBidiStreamRequest(
        processMethod.path,
        processMethod.requestSerialize,
        processMethod.responseDeserialize,
        this.#metadata,
      ),
    )
  }

  /** Opens a stream on which the bytes given are the messages. */
  openRaw(): Exchange<Buffer> {
    return new Exchange(
      this.#client.makeBidiStreamRequest(
        processMethod.path,
        (bytes: Buffer) => bytes,
        processMethod.responseDeserialize,
      ),
    )
  }

  /** Serving status of a service by gRPC health's Check; rejects as Check does. */
  check(name: string): Promise<string> {
    const { path, requestSerialize, responseDeserialize } = healthMethods.Check!
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize as (bytes: Buffer) => { status: string },
        { service: name },
        (error, reply) => (error ? reject(error) : resolve(reply!.status)),
      )
    })
  }

  list(): Promise<Record<string, string>> {
    const { path, requestSerialize, responseDeserialize } = healthMethods.List!
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize as (bytes: Buffer) => { statuses: Record<string, { status: string }> },
        {},
        (error, reply) => {
          if (error) return reject(error)
          resolve(
            Object.fromEntries(
              Object.entries(reply!.statuses).map(([name, { status }]) => [name, status]),
            ),
          )
        },
      )
    })
  }

  watch(name: string): ClientReadableStream<{ readonly status: string }> {
    const { path, requestSerialize, responseDeserialize } = healthMethods.Watch!
    return this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize as (bytes: Buffer) => { status: string },
      { service: name },
    )
  }

  close(): void {
    this.#client.close()
  }
}

/** One ext_proc stream as the gateway sees it. */
export class Exchange<Message = ProcessingRequest> {
  readonly #call: ClientDuplexStream<Message, ProcessingResponse>
  readonly #received: ProcessingResponse[] = []
  readonly #waiting: ((response: ProcessingResponse | undefined) => void)[] = []
  #ended: StatusObject | undefined
  /** How the server ended the stream. */
  readonly status: Promise<StatusObject>

  constructor(call: ClientDuplexStream<Message, ProcessingResponse>) {
    this.#call = call
    call.on('data', (response: ProcessingResponse) => {
      const waiting = this.#waiting.shift()
      if (waiting) waiting(response)
      else this.#received.push(response)
    })
    // The status tells the same and more.
    call.on('error', () => {})
    this.status = new Promise((resolve) => {
      call.on('status', (ended: StatusObject) => {
        this.#ended = ended
        resolve(ended)
        for (const waiting of this.#waiting.splice(0)) waiting(undefined)
      })
    })
  }

  send(...messages: Message[]): this {
    for (const message of messages) this.#call.write(message)
    return this
  }

  /** The next answer; undefined when the stream has ended. */
  next(): Promise<ProcessingResponse | undefined> {
    if (this.#received.length > 0) return Promise.resolve(this.#received.shift()!)
    if (this.#ended) return Promise.resolve(undefined)
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** The next answers up to the one that is the last of its body, or an immediate one. */
  async untilEnd(field: 'requestBody' | 'responseBody'): Promise<ProcessingResponse[]> {
    const answers: ProcessingResponse[] = []
    for (;;) {
      const answer = await this.next()
      if (answer === undefined) return answers
      answers.push(answer)
      if (answer.response === 'immediateResponse') return answers
      if (streamed(answer, field)?.endOfStream) return answers
    }
  }

  /** The next `count` answers and, after a half-close, whatever else comes. */
  async exactly(count: number): Promise<ProcessingResponse[]> {
    const answers: ProcessingResponse[] = []
    while (answers.length < count) {
      const answer = await this.next()
      if (answer === undefined) return answers
      answers.push(answer)
    }
    this.halfClose()
    return [...answers, ...(await this.rest())]
  }

  /** Every answer until the server ends the stream. */
  async rest(): Promise<ProcessingResponse[]> {
    const answers: ProcessingResponse[] = []
    for (;;) {
      const answer = await this.next()
      if (answer === undefined) return answers
      answers.push(answer)
    }
  }

  /** The answers that have come and were not asked for. */
  get unread(): number {
    return this.#received.length
  }

  /** Reads no more answers from the connection until `resume`. */
  pause(): void {
    this.#call.pause()
  }

  resume(): void {
    this.#call.resume()
  }

  halfClose(): void {
    this.#call.end()
  }

  cancel(): void {
    this.#call.cancel()
  }
}

/** The one message of a whole gRPC frame. */
export function unframed(frame: Buffer): Buffer {
  assert.deepEqual(
    [frame[0], frame.readUInt32BE(1)],
    [0, frame.length - 5],
    'the head of the frame',
  )
  return frame.subarray(5)
}

/** The answers in gRPC frames that may come in parts. */
export function answersIn(parts: readonly Uint8Array[]): ProcessingResponse[] {
  const answers: ProcessingResponse[] = []
  for (let rest = Buffer.concat(parts); rest.length > 0; ) {
    const end = 5 + rest.readUInt32BE(1)
    answers.push(processMethod.responseDeserialize(unframed(rest.subarray(0, end))))
    rest = rest.subarray(end)
  }
  return answers
}

export const statusName = (ended: StatusObject): string => status[ended.code]

/** Header values as Envoy sends them: in raw_value. */
export function headerList(headers: Readonly<Record<string, string>>): HeaderList {
  return {
    headers: Object.entries(headers).map(([key, value]) => ({ key, rawValue: Buffer.from(value) })),
  }
}

export const REQUEST_HEADERS = {
  ':method': 'POST',
  ':path': '/v1/completions',
  ':authority': 'test.local',
  'content-type': 'application/json',
  'x-request-id': 'test-request-id',
}

/** The first message of a request with a body in full duplex both ways, as Envoy sends it. */
export function requestHeaders(
  headers: Readonly<Record<string, string>> = {},
  more: Partial<ProcessingRequest> & { readonly endOfStream?: boolean } = {},
): ProcessingRequest {
  const { endOfStream = false, ...rest } = more
  return {
    requestHeaders: { headers: headerList({ ...REQUEST_HEADERS, ...headers }), endOfStream },
    metadataContext: {},
    protocolConfig: {
      requestBodyMode: 'FULL_DUPLEX_STREAMED',
      responseBodyMode: 'FULL_DUPLEX_STREAMED',
    },
    ...rest,
  }
}

export function requestBody(body: string | Buffer, endOfStream = false): ProcessingRequest {
  return { requestBody: { body: Buffer.from(body), endOfStream }, metadataContext: {} }
}

export function responseHeaders(
  headers: Readonly<Record<string, string>>,
  endOfStream = false,
): ProcessingRequest {
  return { responseHeaders: { headers: headerList(headers), endOfStream }, metadataContext: {} }
}

export function responseBody(body: string | Buffer, endOfStream = false): ProcessingRequest {
  return { responseBody: { body: Buffer.from(body), endOfStream }, metadataContext: {} }
}

export const requestTrailers = (): ProcessingRequest => ({
  requestTrailers: { trailers: headerList({ 'x-sum': '1' }) },
})
export const responseTrailers = (): ProcessingRequest => ({
  responseTrailers: { trailers: headerList({ 'grpc-status': '0' }) },
})

/** Metadata with a subset hint: a list, or one string with commas. */
export function subsetHint(subset: readonly string[] | string): Partial<ProcessingRequest> {
  const value =
    typeof subset === 'string'
      ? { stringValue: subset }
      : { listValue: { values: subset.map((stringValue) => ({ stringValue })) } }
  return {
    metadataContext: {
      filterMetadata: {
        'envoy.lb.subset_hint': { fields: { 'x-gateway-destination-endpoint-subset': value } },
      },
    },
  }
}

/** Metadata in which a gateway says which endpoint served the request. */
export function servedBy(stringValue: string): Partial<ProcessingRequest> {
  return {
    metadataContext: {
      filterMetadata: {
        'envoy.lb': { fields: { 'x-gateway-destination-endpoint-served': { stringValue } } },
        'envoy.other': { fields: { 'x-gateway-destination-endpoint-served': { numberValue: 1 } } },
      },
    },
  }
}

/** The headers that an answer sets, by name. */
export function setHeaders(answer: ProcessingResponse | undefined): Record<string, string> {
  const common = answer?.requestHeaders ?? answer?.requestBody ?? answer?.responseHeaders
  const mutation = answer?.immediateResponse?.headers ?? common?.response?.headerMutation
  return Object.fromEntries(
    (mutation?.setHeaders ?? []).map(({ header }) => [header.key, header.rawValue.toString()]),
  )
}

export function removedHeaders(answer: ProcessingResponse | undefined): readonly string[] {
  return answer?.requestHeaders?.response?.headerMutation?.removeHeaders ?? []
}

/** The destination in the dynamic metadata of an answer. */
export function metadataDestination(answer: ProcessingResponse | undefined): string | undefined {
  interface Struct {
    readonly fields: Record<
      string,
      { readonly structValue?: Struct; readonly stringValue?: string }
    >
  }
  const root = answer?.dynamicMetadata as Struct | undefined
  return root?.fields['envoy.lb']?.structValue?.fields['x-gateway-destination-endpoint']
    ?.stringValue
}

/** The streamed body part of an answer; undefined when it has none. */
export function streamed(
  answer: ProcessingResponse,
  field: 'requestBody' | 'responseBody',
): { readonly body: Buffer; readonly endOfStream: boolean } | undefined {
  const part = answer[field]?.response?.bodyMutation?.streamedResponse
  return part && { body: part.body ?? Buffer.alloc(0), endOfStream: part.endOfStream ?? false }
}

/** The body that answers carry together. */
export function bodyOf(
  answers: readonly ProcessingResponse[],
  field: 'requestBody' | 'responseBody',
): Buffer {
  return Buffer.concat(answers.map((answer) => streamed(answer, field)?.body ?? Buffer.alloc(0)))
}
