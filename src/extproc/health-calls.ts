import type { CallHandler, GrpcCall } from './grpc/call.ts'
import { framed } from './grpc/frames.ts'
import type { Method } from './grpc/grpc-server.ts'
import { STATUS } from './grpc/status.ts'
import { type HealthService, UNKNOWN_SERVICE } from './health.ts'

/** grpc.health.v1.Health beside other services of a `GrpcServer`. */
export function healthMethods(service: HealthService): ReadonlyMap<string, Method> {
  const check = (call: GrpcCall, request: Buffer) => {
    const answer = service.check(request)
    if (answer === undefined) {
      call.end(STATUS.notFound, UNKNOWN_SERVICE)
    } else {
      call.send([framed(answer)])
      call.end()
    }
    return nothing
  }
  const list = (call: GrpcCall) => {
    call.send([framed(service.list())])
    call.end()
    return nothing
  }
  const watch = (call: GrpcCall, request: Buffer) => {
    const tell = (answer: Buffer) => call.send([framed(answer)])
    return service.watch(request, tell, () => call.end())
  }
  const method =
    (answer: Answer): Method =>
    (call) =>
      new OneRequest(call, answer)
  return new Map([
    ['/grpc.health.v1.Health/Check', method(check)],
    ['/grpc.health.v1.Health/List', method(list)],
    ['/grpc.health.v1.Health/Watch', method(watch)],
  ])
}

/** Answers the one request of a call; returns what is to be done when its stream is no more. */
type Answer = (call: GrpcCall, request: Buffer) => () => void

const nothing = () => {}

/** A call with one message from the client, answered when the client has said that there is no other. */
class OneRequest implements CallHandler {
  readonly #call: GrpcCall
  readonly #answer: Answer
  #request: Buffer | undefined
  #forget = nothing

  constructor(call: GrpcCall, answer: Answer) {
    this.#call = call
    this.#answer = answer
  }

  message(bytes: Buffer, start: number, end: number): void {
    if (this.#request === undefined) this.#request = Buffer.from(bytes.subarray(start, end))
    else this.#call.end(STATUS.unimplemented, 'Received a second request message')
  }

  halfClosed(): void {
    if (this.#request === undefined) {
      this.#call.end(STATUS.unimplemented, 'Received no request message')
      return
    }
    this.#forget = this.#answer(this.#call, this.#request)
  }

  closed(): void {
    this.#forget()
  }
}
