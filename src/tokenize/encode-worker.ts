import { parentPort } from 'node:worker_threads'
import { TokenizerFile } from './tokenizer-file.ts'

/** Pieces of text to encode with the tokenizer of one folder. */
export interface EncodeJob {
  readonly id: number
  readonly folder: string
  readonly pieces: readonly string[]
  /** Whether the first of them begins its text. */
  readonly first: readonly boolean[]
}

/** The ids of each piece, in order; `error` instead when the folder could not be read. */
export interface EncodeAnswer {
  readonly id: number
  readonly ids?: readonly Int32Array[]
  readonly error?: string
}

const port = parentPort
if (port === null) throw new Error('encode-worker runs in a worker thread only')

const tokenizers = new Map<string, TokenizerFile>()

port.on('message', (job: EncodeJob) => {
  try {
    let tokenizer = tokenizers.get(job.folder)
    if (tokenizer === undefined) {
      tokenizer = new TokenizerFile(job.folder)
      tokenizers.set(job.folder, tokenizer)
    }
    const ids = job.pieces.map((piece, i) => tokenizer.encode(piece, job.first[i] === true))
    const answer: EncodeAnswer = { id: job.id, ids }
    port.postMessage(
      answer,
      ids.map((array) => array.buffer as ArrayBuffer),
    )
  } catch (error) {
    const answer: EncodeAnswer = { id: job.id, error: String(error) }
    port.postMessage(answer)
  }
})
