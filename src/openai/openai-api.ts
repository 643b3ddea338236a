import { DEFAULT_LIMITS } from '../framework/limits.ts'
import type { OpenAiApi } from '../framework/services.ts'
import { addModel } from './add-model.ts'
import { BodyScanner } from './body-scanner.ts'
import type { JsonLimits } from './json-bounds.ts'
import { parsePart } from './parse-part.ts'
import { parseRequest } from './parse-request.ts'
import { rewriteModel } from './rewrite-model.ts'
import { setSalt } from './set-salt.ts'
import { createUsageScanner } from './usage-scanner.ts'

/** The OpenAI wire format as vLLM speaks it, of bodies that hold so much. */
export function createOpenAiApi(limits: JsonLimits): OpenAiApi {
  const reading = { limits, scanner: new BodyScanner(limits) }
  return {
    parse: (path, _headers, body) => parseRequest(path, body, reading),
    parsePart: (path, _headers, body) => parsePart(path, body, reading),
    rewriteModel,
    addModel,
    setSalt,
    usageScanner: createUsageScanner,
  }
}

/** The same with the limits of a process whose flags say nothing. */
export const openAiApi: OpenAiApi = createOpenAiApi(DEFAULT_LIMITS)
