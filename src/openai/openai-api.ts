import type { OpenAiApi } from '../framework/services.ts'
import { addModel } from './add-model.ts'
import { parseRequest } from './parse-request.ts'
import { rewriteModel } from './rewrite-model.ts'
import { createUsageScanner } from './usage-scanner.ts'

/** The OpenAI wire format as vLLM speaks it. Without state. */
export const openAiApi: OpenAiApi = {
  parse: (path, _headers, body) => parseRequest(path, body),
  rewriteModel,
  addModel,
  usageScanner: createUsageScanner,
}
