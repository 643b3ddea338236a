import { type Endpoint, networkAddress, sharesPort } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import type { IncomingRequest, OpenAiApi } from '../services.ts'
import { CONTROL_HEADERS, DATA_PARALLEL_RANK, REQUEST_ID_HEADER } from './headers.ts'
import type { ProfileRun } from './profile.ts'
import { headerSalt, type ReadRequest } from './read-request.ts'
import type { RequestPolicy } from './request-policy.ts'

/**
 * The bytes to send on: those that came, with another model or the gateway's salt where these had to change.
 *
 * @throws {SchedulerError} CONFIG_INVALID when the gateway's salt cannot be put into the body, since it passes none or not
 *   all of it: the engine would cache the prompt for other tenants to find
 */
export function outgoingBody(
  incoming: IncomingRequest,
  { request, bodySalt, isCut }: ReadRequest,
  openAi: OpenAiApi,
  saltHeader: string | undefined,
): readonly Uint8Array[] {
  const { model, targetModel, prompt } = request
  let { body } = incoming
  if (targetModel !== model) {
    body =
      model === '' ? openAi.addModel(body, targetModel) : openAi.rewriteModel(body, targetModel)
  }
  const salt = headerSalt(incoming, saltHeader)
  if (salt === undefined || salt === bodySalt) return body
  if (isCut || incoming.bodySeen === 'none') {
    throw new SchedulerError(
      'CONFIG_INVALID',
      `the salt of the header ${saltHeader} cannot be put into a body that the gateway does not pass as a whole; set its request_body_mode to FULL_DUPLEX_STREAMED or BUFFERED, or take saltHeader out of the configuration`,
    )
  }
  return prompt === undefined ? body : openAi.setSalt(body, salt, bodySalt)
}

/** What to change in a request's headers besides the destination. */
export interface HeaderChanges {
  readonly setHeaders: ReadonlyMap<string, string>
  readonly removeHeaders: readonly string[]
}

export function headerChanges(
  id: string,
  { headers, call }: IncomingRequest,
  target: Endpoint,
  { saltHeader }: RequestPolicy,
): HeaderChanges {
  const setHeaders = new Map<string, string>()
  if (headers.get(REQUEST_ID_HEADER) !== id) setHeaders.set(REQUEST_ID_HEADER, id)
  if (sharesPort(target)) setHeaders.set(DATA_PARALLEL_RANK, String(target.rank))
  const removeHeaders = CONTROL_HEADERS.filter((name) => headers.has(name))
  if (saltHeader !== undefined && call === undefined && headers.has(saltHeader)) {
    removeHeaders.push(saltHeader)
  }
  return { setHeaders, removeHeaders }
}

/**
 * The endpoints to name to the gateway, by their `hostPort` and each address once: those that the picker picked, cut or
 * filled up with the next best by score to one and `fallbacks` more.
 *
 * Where the target shares its port, the request says its rank wherever it is sent: other ranks cannot be fallbacks.
 *
 * @param fallbacks undefined leaves it at what the picker picked
 */
export function namedEndpoints(run: ProfileRun, fallbacks: number | undefined): readonly string[] {
  const { picked, endpoints, totals } = run.trace
  if (picked.length === 1 && !fallbacks) return picked
  const [target] = picked
  const others = fallbacksOf(target!)
  const named = new Set(picked.filter((name) => name === target || others(name)))
  if (fallbacks === undefined) return [...named]
  if (named.size > fallbacks) return [...named].slice(0, 1 + fallbacks)
  const order = Array.from(endpoints, (_, i) => i).sort((a, b) => totals[b]! - totals[a]!)
  for (const i of order) {
    const name = endpoints[i]!
    if (others(name)) named.add(name)
  }
  return [...named].slice(0, 1 + fallbacks)
}

/** Whether an endpoint can stand in for the target: it is another server, and the same rank of it or without ranks too. */
function fallbacksOf(target: string): (name: string) => boolean {
  const address = networkAddress(target)
  const rank = target.slice(address.length)
  return (name) => {
    const other = networkAddress(name)
    return other !== address && name.slice(other.length) === rank
  }
}
