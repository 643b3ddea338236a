// Where the time of a CPU profile goes.
import { readFileSync } from 'node:fs'

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: {
      readonly functionName: string
      readonly url: string
      readonly lineNumber: number
    }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** Time in which a function itself ran, callees left out. */
export interface SelfTime {
  readonly name: string
  /** File from the root of the project or package, with line; empty for what is no code. */
  readonly place: string
  /** Of the time that is neither idle nor the system's. */
  readonly share: number
}

const NOT_COUNTED = new Set(['(idle)', '(program)', '(root)'])

/** Reads a `.cpuprofile`; the functions that take most, most first. */
export function topOfProfile(file: string, count: number): SelfTime[] {
  return selfTimes(JSON.parse(readFileSync(file, 'utf8'))).slice(0, count)
}

/** Self times of all functions, most first. */
export function selfTimes({ nodes, samples, timeDeltas }: Profile): SelfTime[] {
  const functions = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const times = new Map<string, { name: string; place: string; us: number }>()
  let totalUs = 0
  samples.forEach((id, i) => {
    const frame = functions.get(id)!
    // A sample is the state from its moment to the next one's.
    const us = timeDeltas[i + 1] ?? 0
    if (NOT_COUNTED.has(frame.functionName)) return
    totalUs += us
    const name = frame.functionName || '(anonymous)'
    const place = frame.url && `${shortened(frame.url)}:${frame.lineNumber + 1}`
    const key = `${name} ${place}`
    const time = times.get(key)
    if (time) time.us += us
    else times.set(key, { name, place, us })
  })
  return [...times.values()]
    .sort((a, b) => b.us - a.us)
    .map(({ name, place, us }) => ({ name, place, share: us / totalUs }))
}

function shortened(url: string): string {
  return url.replace(/^.*\/(?=(dist|node_modules|bench)\/)/, '')
}
