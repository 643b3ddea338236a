import { parentPort } from 'node:worker_threads'
import type { Measures } from '../sim/simulation/measures.ts'
import { type SimulationJob, Simulator } from './simulation.ts'

/** What a thread answers: what a run came to, or why there was none. */
export type SimulationAnswer =
  | { readonly measures: Measures; readonly tookS: number }
  | { readonly error: string }

const port = parentPort
if (port === null) throw new Error('simulation-worker runs in a worker thread only')

const simulator = new Simulator()

port.on('message', (job: SimulationJob) => {
  void answerOf(job).then((answer) => port.postMessage(answer))
})

async function answerOf(job: SimulationJob): Promise<SimulationAnswer> {
  const startMs = performance.now()
  try {
    const measures = await simulator.run(job)
    return { measures, tookS: (performance.now() - startMs) / 1000 }
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
}
