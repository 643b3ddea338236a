import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { SchedulerError } from '../framework/errors.ts'
import type { Measures } from '../sim/simulation/measures.ts'
import type { SimulationJob } from './simulation.ts'
import type { SimulationAnswer } from './simulation-worker.ts'

/** What one job came to. */
export interface FinishedJob {
  readonly measures: Measures
  /** Seconds of the thread's time. */
  readonly tookS: number
}

/**
 * Runs jobs in threads, as many as there are cores.
 *
 * @param finished told of each job as it ends, in any order
 * @returns what they came to, in the order of `jobs`
 * @throws {SchedulerError} CONFIG_INVALID with what the first job that failed said; the others are given up
 */
export async function runJobs(
  jobs: readonly SimulationJob[],
  finished: (job: SimulationJob, result: FinishedJob) => void = () => {},
): Promise<readonly FinishedJob[]> {
  const results: FinishedJob[] = []
  const workers = Array.from({ length: Math.min(availableParallelism(), jobs.length) }, startWorker)
  let next = 0
  const work = async (worker: Worker) => {
    while (next < jobs.length) {
      const at = next++
      const answer = await ask(worker, jobs[at]!)
      if ('error' in answer) throw new SchedulerError('CONFIG_INVALID', answer.error)
      results[at] = answer
      finished(jobs[at]!, answer)
    }
  }
  try {
    await Promise.all(workers.map(work))
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
  return results
}

function ask(worker: Worker, job: SimulationJob): Promise<SimulationAnswer> {
  return new Promise((resolve, reject) => {
    const done = () => {
      worker.off('message', answered)
      worker.off('error', failed)
    }
    const answered = (answer: SimulationAnswer) => {
      done()
      resolve(answer)
    }
    const failed = (error: unknown) => {
      done()
      reject(error)
    }
    worker.on('message', answered)
    worker.on('error', failed)
    worker.postMessage(job)
  })
}

/** Runs from the compiled output, and from the source, which has an entry of its own. */
function startWorker(): Worker {
  const isBuilt = import.meta.url.endsWith('.js')
  const entry = isBuilt ? './simulation-worker.js' : './simulation-worker-tsx.mjs'
  return new Worker(new URL(entry, import.meta.url), { execArgv: [] })
}
