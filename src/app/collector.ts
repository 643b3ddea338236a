import { setFlagsFromString } from 'node:v8'

/** Node's major versions whose V8 can count buffers with its heap. A V8 that does not know a flag says so on stderr. */
const COUNTS_BUFFERS: ReadonlySet<string> = new Set(['24'])

/**
 * Tells V8 when to mark its whole heap, which it reckons wrongly for a process whose requests are mostly buffers that live for
 * milliseconds (docs/decisions/0022-when-to-mark.md).
 */
export function tuneCollector(): void {
  // Not before the heap is three times as large as it was found to be; by itself a heap of 30 MB is marked each 8 MB.
  setFlagsFromString('--heap-growing-percent=200')
  const [major] = process.versions.node.split('.', 1)
  // Else it is marked for each 64 MB of buffers that have come and gone.
  if (COUNTS_BUFFERS.has(major!)) {
    setFlagsFromString('--external-memory-accounted-in-global-limit')
  }
}
