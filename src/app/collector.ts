import { setFlagsFromString } from 'node:v8'

/** Node's major versions whose V8 can count buffers with its heap. A V8 that does not know a flag says so on stderr. */
const COUNTS_BUFFERS: ReadonlySet<string> = new Set(['24'])

/** How much the heap may grow before all of it is marked, in percent of what was found alive in it the last time. */
const GROWTH_PERCENT = { heap: 200, heapAndBuffers: 100 }

/**
 * Tells V8 when to mark its whole heap, which it reckons wrongly for a process whose requests are mostly buffers that live for
 * milliseconds: a heap of 30 MB for each 8 MB of them, see docs/decisions/0022-when-the-heap-is-marked.md.
 */
export function tuneCollector(): void {
  const [major] = process.versions.node.split('.', 1)
  const countsBuffers = COUNTS_BUFFERS.has(major!)
  if (countsBuffers) setFlagsFromString('--external-memory-accounted-in-global-limit')
  const percent = countsBuffers ? GROWTH_PERCENT.heapAndBuffers : GROWTH_PERCENT.heap
  setFlagsFromString(`--heap-growing-percent=${percent}`)
}
