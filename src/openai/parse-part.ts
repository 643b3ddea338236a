import { SchedulerError } from '../framework/errors.ts'
import type { ParsedRequest } from '../framework/services.ts'
import { closeJson } from './close-json.ts'
import { type BodyReading, parseRequest } from './parse-request.ts'

const NOTHING: ParsedRequest = {
  model: '',
  prompt: undefined,
  stream: false,
  cacheSalt: undefined,
  maxOutputTokens: undefined,
}

/**
 * Reads what the beginning of a request's body says, its last string or list cut where the bytes end.
 *
 * @returns `isCut` false where it is a whole body after all
 * @throws {SchedulerError} BAD_REQUEST as `parseRequest`, for a whole body
 */
export function parsePart(
  path: string,
  body: readonly Uint8Array[],
  reading: BodyReading,
): ParsedRequest & { readonly isCut: boolean } {
  const closed = closeJson(Buffer.concat(body))
  if (closed === undefined) return { ...parseRequest(path, body, reading), isCut: false }
  // Where the cut leaves no prompt that could be read, what stands beside it may still be.
  for (const api of [path, '/']) {
    try {
      return { ...parseRequest(api, [closed], reading), isCut: true }
    } catch (error) {
      if (!(error instanceof SchedulerError)) throw error
    }
  }
  return { ...NOTHING, isCut: true }
}
