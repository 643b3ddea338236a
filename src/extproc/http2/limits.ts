/** What a client may do on one connection. */

/** Open at once. */
export const MAX_STREAMS = 100_000
/** Of one header block, encoded or decoded. */
export const MAX_HEADER_BYTES = 64 * 1024
/** Of the headers of all open streams. */
export const MAX_OPEN_HEADER_BYTES = 96 * 1024 * 1024
/**
 * Of data on one stream, before it is told that there is room again. With the protocol's 64 KiB a long prompt waits for a
 * round trip each 64 KiB.
 */
export const STREAM_WINDOW_BYTES = 16 * 1024 * 1024
/** The same of all streams together. */
export const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024
