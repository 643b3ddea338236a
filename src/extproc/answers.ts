import { errorAnswer } from '../framework/routing/error-answer.ts'
import { immediateAnswer } from './processing-response.ts'

/** The ImmediateResponse that tells the client of `error`. */
export function immediateErrorAnswer(error: unknown): Buffer {
  const { code, status, headers, body } = errorAnswer(error)
  return immediateAnswer(status, headers, body, `epp_${code.toLowerCase()}`)
}
