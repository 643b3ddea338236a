const MEBIBYTE = 1024 * 1024

/**
 * What the outside may take of one process. Each has a flag, and beyond each something is counted: the table is in
 * docs/security.md.
 */
export interface Limits {
  /** Bytes of one request's headers. */
  readonly maxHeaderBytes: number
  /** Exchanges with the gateway in progress at once. */
  readonly maxRequests: number
  /** Connections that each port has at once. */
  readonly maxConnections: number
  /** Objects and arrays that a body may hold: each takes about 64 bytes when parsed, and a microsecond. */
  readonly maxJsonContainers: number
  /** Members and elements that a body may hold, such as token ids. */
  readonly maxJsonValues: number
  /** Objects and arrays of a body that lie one in the other. */
  readonly maxJsonDepth: number
  /** Messages of a chat that is rendered; rendering runs on the event loop and takes about 50 µs a message. */
  readonly maxMessages: number
  /** Text of one prompt that is tokenized at all, in UTF-16 units. */
  readonly maxPromptChars: number
  /** Bytes of one KV event message. */
  readonly maxEventBytes: number
  /** KV event messages of one publisher that are read in a second. */
  readonly maxEventsPerSecond: number
  /** Endpoints of one pool. */
  readonly maxEndpoints: number
  /** Values that one label of one metric may have. */
  readonly maxLabelValues: number
}

/** The limits of a process whose flags say nothing. */
export const DEFAULT_LIMITS: Limits = {
  maxHeaderBytes: 256 * 1024,
  maxRequests: 100_000,
  maxConnections: 10_000,
  maxJsonContainers: 250_000,
  maxJsonValues: 4_000_000,
  // As many as json.loads takes under Python's own recursion limit.
  maxJsonDepth: 1000,
  maxMessages: 1000,
  // About a million tokens.
  maxPromptChars: 4 * MEBIBYTE,
  maxEventBytes: 32 * MEBIBYTE,
  // An engine sends one for each of its steps, which take some milliseconds.
  maxEventsPerSecond: 50_000,
  maxEndpoints: 10_000,
  maxLabelValues: 1000,
}
