import { BackwardWriter, FieldReader, LENGTH_DELIMITED } from './wire.ts'

/** Says whether requests can be served. */
export interface Health {
  ready(): boolean
  /** Calls back after each change. Returns a function that ends it. */
  listen(changed: () => void): () => void
}

const SERVING = { serving: 1, notServing: 2, serviceUnknown: 3 } as const
const LIVENESS = 'liveness'
const NAMES: readonly string[] = [
  '',
  'readiness',
  LIVENESS,
  'inference-extension',
  'envoy.service.ext_proc.v3.ExternalProcessor',
]

/** What an unknown name is told. */
export const UNKNOWN_SERVICE = `unknown service; known are ${NAMES.map((name) => `"${name}"`).join(', ')}`

const writer = new BackwardWriter(1024)

/**
 * The messages of grpc.health.v1.Health: `liveness` is served while the process answers at all, every other known name
 * while `health` is ready. Source: https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto
 */
export class HealthService {
  readonly #health: Health
  /** How to end those who watch. */
  readonly #watches = new Set<() => void>()

  constructor(health: Health) {
    this.#health = health
  }

  /** Answers Check; undefined where the name is unknown: NOT_FOUND. */
  check(request: Buffer): Buffer | undefined {
    const serving = this.#servingOf(serviceOf(request))
    return serving === SERVING.serviceUnknown ? undefined : checkResponse(serving)
  }

  /** Answers List. */
  list(): Buffer {
    writer.begin()
    for (const name of NAMES) {
      const entry = writer.mark()
      writer.varint(1, this.#servingOf(name))
      writer.nest(2, entry)
      writer.text(1, name)
      writer.nest(1, entry)
    }
    return writer.take()
  }

  /**
   * Answers Watch: tells what is now, then each change; an unknown name is SERVICE_UNKNOWN.
   *
   * @param end ends the stream of the one who watches
   * @returns forgets the one who watches
   */
  watch(request: Buffer, tell: (answer: Buffer) => void, end: () => void): () => void {
    const service = serviceOf(request)
    let last = 0
    const look = () => {
      const serving = this.#servingOf(service)
      if (serving !== last) tell(checkResponse((last = serving)))
    }
    const endListening = this.#health.listen(look)
    this.#watches.add(end)
    look()
    return () => {
      endListening()
      this.#watches.delete(end)
    }
  }

  /** Ends the streams of all who watch. */
  endWatches(): void {
    for (const end of [...this.#watches]) end()
  }

  #servingOf(service: string | undefined): number {
    if (service === undefined || !NAMES.includes(service)) return SERVING.serviceUnknown
    return service === LIVENESS || this.#health.ready() ? SERVING.serving : SERVING.notServing
  }
}

/** The name in a HealthCheckRequest; undefined where the bytes are none. */
function serviceOf(request: Buffer): string | undefined {
  const reader = new FieldReader().reset(request, 0, request.length)
  let service = ''
  while (reader.next()) {
    if (reader.field === 1 && reader.wireType === LENGTH_DELIMITED) {
      service = request.toString('utf8', reader.start, reader.end)
    }
  }
  return reader.malformed ? undefined : service
}

function checkResponse(serving: number): Buffer {
  writer.begin()
  writer.varint(1, serving)
  return writer.take()
}
