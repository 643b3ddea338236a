import { parentPort } from 'node:worker_threads'
import { nameThread } from './thread-name.ts'
import { TokenizerFile, type TokenizerFolder, tokenizerFolder } from './tokenizer-file.ts'

/** Pieces of text to encode with the tokenizer of one folder. */
export interface EncodeJob {
  readonly id: number
  readonly folder: TokenizerFolder
  readonly pieces: readonly string[]
  /** Whether the first of them begins its text. */
  readonly first: readonly boolean[]
}

/** What a thread is told: a job, or the paths of the folders whose tokenizers are still of use. */
export type EncodeMessage = EncodeJob | { readonly keep: readonly string[] }

/** How many ids each piece has, then the ids of all of them, in order; `error` instead when the folder could not be read. */
export interface EncodeAnswer {
  readonly id: number
  readonly ids?: Int32Array
  readonly error?: string
}

const port = parentPort
if (port === null) throw new Error('encode-worker runs in a worker thread only')
nameThread('epp-encode')

/** By the path of their folder. */
const tokenizers = new Map<string, { readonly stamp: string; readonly file: TokenizerFile }>()

/** @throws when the folder cannot be read, or is not as it was when the job was made */
function tokenizerOf({ path, stamp }: TokenizerFolder): TokenizerFile {
  const known = tokenizers.get(path)
  if (known?.stamp === stamp) return known.file
  tokenizers.delete(path)
  if (tokenizerFolder(path).stamp !== stamp) throw new Error(`the files in ${path} have changed`)
  const file = new TokenizerFile(path)
  tokenizers.set(path, { stamp, file })
  return file
}

port.on('message', (job: EncodeMessage) => {
  if ('keep' in job) {
    for (const path of tokenizers.keys()) if (!job.keep.includes(path)) tokenizers.delete(path)
    return
  }
  try {
    const tokenizer = tokenizerOf(job.folder)
    const ids = joined(job.pieces.map((piece, i) => tokenizer.encode(piece, job.first[i] === true)))
    const answer: EncodeAnswer = { id: job.id, ids }
    port.postMessage(answer, [ids.buffer as ArrayBuffer])
  } catch (error) {
    const answer: EncodeAnswer = { id: job.id, error: String(error) }
    port.postMessage(answer)
  }
})

function joined(parts: readonly Int32Array[]): Int32Array {
  let length = parts.length
  for (const part of parts) length += part.length
  const all = new Int32Array(length)
  let at = parts.length
  for (const [i, part] of parts.entries()) {
    all[i] = part.length
    all.set(part, at)
    at += part.length
  }
  return all
}
