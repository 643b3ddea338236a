import { existsSync, readFileSync } from 'node:fs'
import type { Epp } from '../e2e/epp.ts'

const KIBIBYTE = 1024
export const MEBIBYTE = 1024 * KIBIBYTE

/** Resident bytes of the picker now. */
export async function residentBytes(epp: Epp): Promise<number> {
  return (await epp.metric('process_resident_memory_bytes'))!
}

/** The most that the picker has ever had resident, where the system tells; else what it has now. */
export async function peakBytes(epp: Epp): Promise<number> {
  const file = `/proc/${epp.process.pid}/status`
  const line = existsSync(file) ? /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(file, 'utf8')) : null
  return line === null ? residentBytes(epp) : Number(line[1]) * KIBIBYTE
}

export const inMebibytes = (bytes: number): string => `${Math.round(bytes / MEBIBYTE)} MiB`
