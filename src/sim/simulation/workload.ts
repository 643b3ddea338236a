import type { Draw } from './draw.ts'

/** One request as a client sends it. */
export interface SimulatedRequest {
  readonly prompt: Int32Array
  /** What the engine generates; at least one token. */
  readonly answer: Int32Array
  /** Called when the client has the whole answer. */
  readonly answered?: () => void
}

/** What a workload puts its requests into. All times are milliseconds from the start. */
export interface Load {
  /** No request comes after it. */
  readonly horizonMs: number
  nowMs(): number
  /** Not before now. */
  at(atMs: number, run: () => void): void
  /** Sends a request now. */
  send(request: SimulatedRequest): void
  /** A source of draws for that part of the workload: the same in each run of one seed, whatever the picker does. */
  draw(stream: number): Draw
}

/** Who sends what and when. */
export interface Workload {
  readonly name: string
  readonly engines: number
  /** Requests that come before are not counted. */
  readonly warmUpMs: number
  readonly horizonMs: number
  start(load: Load): void
}

/** A kind of workload, at any rate. */
export interface WorkloadKind {
  readonly name: string
  readonly description: string
  /** What a rate counts, such as `requests/s`. */
  readonly rateUnit: string
  /** Below, at and past the knee; where there is no such thing, one. */
  readonly rates: readonly number[]
  at(rate: number): Workload
}

/** Calls `arrive` at the moments of a Poisson process until the horizon; `perSecond` may change with time. */
export function poisson(
  load: Load,
  draw: Draw,
  perSecond: (atMs: number) => number,
  arrive: () => void,
): void {
  let atMs = 0
  const next = () => {
    atMs += draw.pause(1000 / perSecond(atMs))
    if (atMs >= load.horizonMs) return
    load.at(atMs, () => {
      arrive()
      next()
    })
  }
  next()
}
