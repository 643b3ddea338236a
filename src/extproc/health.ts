import type {
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  sendUnaryData,
  UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { status } from '@grpc/grpc-js'
import { BackwardWriter, FieldReader, LENGTH_DELIMITED } from './wire.ts'

/** Says whether requests can be served. */
export interface Health {
  ready(): boolean
  /** Calls back after each change. Returns a function that ends it. */
  listen(changed: () => void): () => void
}

/** The stream of one who watches; nothing but `end` ends it from here. */
export interface HealthWatch {
  end(): void
}

const STATUS = { serving: 1, notServing: 2, serviceUnknown: 3 } as const
const LIVENESS = 'liveness'
const NAMES: readonly string[] = [
  '',
  'readiness',
  LIVENESS,
  'inference-extension',
  'envoy.service.ext_proc.v3.ExternalProcessor',
]

const UNKNOWN = `unknown service; known are ${NAMES.map((name) => `"${name}"`).join(', ')}`

const writer = new BackwardWriter(1024)

interface HealthCheckRequest {
  /** Undefined when the bytes were not a request. */
  readonly service: string | undefined
}

function decodeCheck(bytes: Buffer): HealthCheckRequest {
  const reader = new FieldReader().reset(bytes, 0, bytes.length)
  let service = ''
  while (reader.next()) {
    if (reader.field === 1 && reader.wireType === LENGTH_DELIMITED) {
      service = bytes.toString('utf8', reader.start, reader.end)
    }
  }
  return { service: reader.malformed ? undefined : service }
}

function encodeCheck(serving: number): Buffer {
  writer.begin()
  writer.varint(1, serving)
  return writer.take()
}

function encodeList(statuses: ReadonlyMap<string, number>): Buffer {
  writer.begin()
  for (const [name, serving] of statuses) {
    const entry = writer.mark()
    const value = writer.mark()
    writer.varint(1, serving)
    writer.nest(2, value)
    writer.text(1, name)
    writer.nest(1, entry)
  }
  return writer.take()
}

const method = { requestStream: false, requestSerialize: asIs, responseDeserialize: asIs } as const

/** grpc.health.v1.Health. Source: https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto */
export const healthService: ServiceDefinition = {
  Check: {
    ...method,
    path: '/grpc.health.v1.Health/Check',
    responseStream: false,
    requestDeserialize: decodeCheck,
    responseSerialize: encodeCheck,
  },
  List: {
    ...method,
    path: '/grpc.health.v1.Health/List',
    responseStream: false,
    requestDeserialize: asIs,
    responseSerialize: encodeList,
  },
  Watch: {
    ...method,
    path: '/grpc.health.v1.Health/Watch',
    responseStream: true,
    requestDeserialize: decodeCheck,
    responseSerialize: encodeCheck,
  },
}

/**
 * Answers health questions: `liveness` while the process answers at all, every other known name while `health` is ready.
 * An unknown name is NOT_FOUND for Check and SERVICE_UNKNOWN for Watch, as the protocol says.
 *
 * @param watches takes the streams of those who watch, as long as they do
 */
export function healthHandlers(
  health: Health,
  watches: Set<HealthWatch>,
): UntypedServiceImplementation {
  const statusOf = (service: string | undefined): number => {
    if (service === undefined || !NAMES.includes(service)) return STATUS.serviceUnknown
    return service === LIVENESS || health.ready() ? STATUS.serving : STATUS.notServing
  }
  return {
    Check(call: ServerUnaryCall<HealthCheckRequest, number>, reply: sendUnaryData<number>) {
      const serving = statusOf(call.request.service)
      if (serving === STATUS.serviceUnknown) reply({ code: status.NOT_FOUND, details: UNKNOWN })
      else reply(null, serving)
    },
    List(_call: unknown, reply: sendUnaryData<ReadonlyMap<string, number>>) {
      reply(null, new Map(NAMES.map((name) => [name, statusOf(name)])))
    },
    Watch(call: ServerWritableStream<HealthCheckRequest, number>) {
      let last = 0
      const tell = () => {
        const serving = statusOf(call.request.service)
        if (serving !== last) call.write((last = serving))
      }
      const endListening = health.listen(tell)
      watches.add(call)
      call.once('close', () => {
        endListening()
        watches.delete(call)
      })
      tell()
    },
  }
}

function asIs(value: Buffer): Buffer {
  return value
}
