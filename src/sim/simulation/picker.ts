import type { Clock, KvEvent } from '../../framework/services.ts'

/** One message of an engine's events. */
export interface EngineMessage {
  readonly sequence: number
  /** As the engine writes it. */
  readonly payload: Uint8Array
}

/** Where a request goes, and whom to tell what becomes of it. */
export interface RoutedRequest {
  /** Number of the engine. */
  readonly engine: number
  /** The first token has come back. */
  firstToken(): void
  /** The whole answer has come back. */
  ended(usage: {
    readonly promptTokens: number
    readonly cachedTokens: number
    readonly completionTokens: number
  }): void
  /** The engine went away before it had answered. */
  broken(): void
}

/** What a metrics page says. */
export interface EngineState {
  readonly waiting: number
  readonly running: number
  /** In [0, 1]. */
  readonly kvUsage: number
  readonly blockTokens: number
  readonly kvBlocks: number
  readonly queriedTokens: number
  readonly hitTokens: number
  readonly finishedRequests: number
}

/** A picker inside the simulation: the product's own, with the network and the clock taken away. */
export interface SimulatedPicker {
  /** Whether its configuration has it follow the engines' events. */
  readonly followsEvents: boolean
  /** @throws what the picker refuses the request with */
  route(id: string, prompt: Int32Array, maxTokens: number): Promise<RoutedRequest>
  /** A message arrives. */
  receive(engine: number, message: EngineMessage): void
  /** An engine's metrics page arrives. */
  scraped(engine: number, state: EngineState): void
  /** An engine has been replaced by a new one at the same address. */
  replaced(engine: number): void
  /** What it has warned of so far, each once. */
  warnings(): readonly string[]
  close(): Promise<void>
}

/** What a picker is made with. */
export interface PickerSetting {
  readonly engines: number
  readonly seed: number
  readonly clock: Clock
  /** Messages that an engine still has, the oldest first; undefined for the first picker, which missed none. */
  readonly replay: ((engine: number) => AsyncIterable<EngineMessage>) | undefined
}

/** What the simulation takes from the product. */
export interface SimulationParts {
  createPicker(setting: PickerSetting): SimulatedPicker
  /** @param atS the engine's time in seconds */
  encodeEvents(events: readonly KvEvent[], atS: number): Uint8Array
}
