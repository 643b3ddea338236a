import { Attributes } from '../attributes.ts'
import { SchedulerError } from '../errors.ts'
import { type Criticality, criticalityOf, type InferenceRequest } from '../request.ts'
import type {
  IncomingRequest,
  ModelRule,
  OpenAiApi,
  ParsedRequest,
  Random,
  RequestRules,
} from '../services.ts'
import { firstHeader, MODEL_REWRITE_HEADERS, OBJECTIVE_HEADERS, requestPath } from './headers.ts'

/** A request as its bytes, its headers and the operator's objects say it. */
export interface ReadRequest {
  readonly request: InferenceRequest
  /** The object that speaks of its model. */
  readonly rule: ModelRule | undefined
  /** The salt that the body has. */
  readonly bodySalt: string | undefined
  /** True when the body goes on after what was read. */
  readonly isCut: boolean
}

export interface ReadingServices {
  readonly openAi: OpenAiApi
  readonly rules: RequestRules
  /** Draws among weighted targets. */
  readonly random: Random
  /** Header, in lower case, whose salt replaces the body's. */
  readonly saltHeader: string | undefined
}

type Parsed = ParsedRequest & { readonly isCut: boolean }

/** A model's name is kept: in decisions, in the labels of metrics. */
const MAX_MODEL_CHARACTERS = 1024

const NO_BODY: Parsed = {
  model: '',
  prompt: undefined,
  stream: false,
  cacheSalt: undefined,
  maxOutputTokens: undefined,
  isCut: false,
}

/** The priority of a request whose criticality alone is told. */
const PRIORITIES: Readonly<Record<Criticality, number>> = {
  Critical: 1,
  Standard: 0,
  Sheddable: -1,
}

/** @throws {SchedulerError} BAD_REQUEST, MODEL_MISSING */
export function readRequest(
  id: string,
  incoming: IncomingRequest,
  { openAi, rules, random, saltHeader }: ReadingServices,
): ReadRequest {
  const { headers, body } = incoming
  const path = requestPath(headers)
  const bodyBytes = body.reduce((sum, piece) => sum + piece.byteLength, 0)
  const parsed = bodyBytes === 0 ? NO_BODY : parse(incoming, path, openAi)
  const { isCut } = parsed
  const rewrite = firstHeader(headers, MODEL_REWRITE_HEADERS)
  checkModel('"model"', parsed.model)
  if (rewrite) checkModel(`the header ${rewrite.name}`, rewrite.value)
  // Requests such as GET /v1/models have no model, and need none; nor can a model be put where the body has not ended.
  const namesModel = parsed.model !== '' || (parsed.prompt !== undefined && !isCut)
  const rule = namesModel ? rules.ruleOf(parsed.model, random) : undefined
  // What an operator's object says comes before what a client asks for.
  const targetModel = rule?.targetModel ?? (namesModel ? rewrite?.value : undefined) ?? parsed.model
  if (targetModel === '' && namesModel) {
    throw new SchedulerError('MODEL_MISSING', 'the request names no model; set "model" in its body')
  }
  const objective = firstHeader(headers, OBJECTIVE_HEADERS)
  const priority = objective && rules.priorityOf(objective.value)
  const request: InferenceRequest = {
    id,
    path,
    headers,
    model: parsed.model,
    prompt: parsed.prompt,
    stream: parsed.stream,
    maxOutputTokens: parsed.maxOutputTokens,
    cacheSalt: headerSalt(incoming, saltHeader) ?? parsed.cacheSalt,
    targetModel,
    criticality: rule?.criticality ?? criticalityOf(priority ?? 0),
    priority: priority ?? PRIORITIES[rule?.criticality ?? 'Standard'],
    bodyBytes,
    attributes: new Attributes(),
  }
  return { request, rule, bodySalt: parsed.cacheSalt, isCut }
}

/** The salt that the gateway gives; what anybody else says in that header is no salt. */
export function headerSalt(
  { headers, call }: IncomingRequest,
  saltHeader: string | undefined,
): string | undefined {
  if (saltHeader === undefined || call === undefined) return undefined
  return headers.get(saltHeader) || undefined
}

function parse(incoming: IncomingRequest, path: string, openAi: OpenAiApi): Parsed {
  const { headers, body, bodySeen } = incoming
  if (bodySeen === 'part') return openAi.parsePart(path, headers, body)
  return { ...openAi.parse(path, headers, body), isCut: false }
}

function checkModel(where: string, model: string): void {
  if (model.length <= MAX_MODEL_CHARACTERS) return
  const text = `${where} is longer than ${MAX_MODEL_CHARACTERS} characters; name a model`
  throw new SchedulerError('BAD_REQUEST', text)
}
