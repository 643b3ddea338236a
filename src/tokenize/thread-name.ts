import { writeFileSync } from 'node:fs'

/** Names the calling thread in what shows threads, such as `top -H`, where the system is Linux: 15 characters at most. */
export function nameThread(name: string): void {
  try {
    writeFileSync('/proc/thread-self/comm', name)
  } catch {
    // Another system, or one that does not allow it.
  }
}
