// What large bodies leave in memory: the picker that knows no tokens beside one that does nothing on grpc-js.
import { setTimeout as delay } from 'node:timers/promises'
import type { Figure } from '../figures.ts'
import { runLoadTool } from './load-tool.ts'
import { RunningPickers } from './pickers.ts'
import { medianOf } from './rows.ts'

const CASE = 'direct/400k'
const NULL = 'null-grpc-js'
const EPP = 'epp'
const MOST_OF_NULL = 1.3
/** Until V8 has noticed that little goes on, and has collected. */
const IDLE_MS = 10_000

/** Resident memory after the case, some seconds of idleness later; prints that and the most there ever was. */
export async function measureMemory(seconds: string, settleSeconds: string): Promise<Figure[]> {
  const pickers = await RunningPickers.start(new RegExp(`^(${EPP}|${NULL})$`))
  try {
    const load = { only: `^${CASE}$`, seconds, settleSeconds, reps: '3' }
    const rows = await runLoadTool('extproc-memory', { ...load, targets: pickers.targets })
    await delay(IDLE_MS)
    const afterMB = (name: string) => pickers.rssMB(name) ?? Number.NaN
    console.log(`\nresident MB ${IDLE_MS / 1000} s after ${CASE}, and its peak`)
    for (const name of pickers.names) {
      const peak = medianOf(rows, CASE, name, 'eppPeakRssMB').toFixed(0).padStart(6)
      console.log(`  ${name.padEnd(15)} ${afterMB(name).toFixed(0).padStart(6)} ${peak}`)
    }
    const value = afterMB(EPP) / afterMB(NULL)
    const name = `resident after ${CASE} ${EPP} / ${NULL}`
    return [{ name, unit: 'x', value, limit: MOST_OF_NULL }]
  } finally {
    pickers.stop()
  }
}
