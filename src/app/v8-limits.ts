import { setFlagsFromString } from 'node:v8'

/** Of Node's major versions: those whose V8 knows the flag. A V8 that does not know one says so on stderr. */
const KNOWN_TO: ReadonlySet<string> = new Set(['24'])

/**
 * Has V8 count buffers with all else when it reckons when to collect. By itself it marks the whole heap each time that 64 MB of
 * buffers have come and gone, for long prompts eight times a second, at nearly half of a request's CPU (docs/performance.md).
 */
export function countBuffersWithHeap(): void {
  const [major] = process.versions.node.split('.', 1)
  if (KNOWN_TO.has(major!)) setFlagsFromString('--external-memory-accounted-in-global-limit')
}
