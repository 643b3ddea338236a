import type { Endpoint } from '../endpoint.ts'
import { SchedulerError } from '../errors.ts'
import type { Observer, ResponseStart } from '../plugin.ts'
import type { InferenceRequest } from '../request.ts'
import type { Configured } from './profile.ts'

/** What belongs to the message's framing or to one hop (RFC 9110, 7.6.1): the gateway's alone. */
const FRAMING = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/
const VALUE = /^[\t\x20-\x7e]*$/
/** Envoy refuses longer ones. */
const MAX_CHARACTERS = 16_384

/**
 * The headers that observers want on a response: of one name the last observer's; undefined for none.
 *
 * A header that must not be set is counted as its plugin's fault and left out, the others are set.
 */
export function responseHeadersOf(
  observers: readonly Configured<Observer>[],
  request: InferenceRequest,
  target: Endpoint,
  response: ResponseStart,
): ReadonlyMap<string, string> | undefined {
  let wanted: Map<string, string> | undefined
  for (const { name: plugin, plugin: observer, probe } of observers) {
    if (observer.responseHeaders === undefined) continue
    probe.notify(() => {
      for (const [name, value] of observer.responseHeaders?.(request, target, response) ?? []) {
        const problem = problemOf(name, value)
        if (problem === undefined) {
          wanted ??= new Map()
          wanted.set(name, value)
        } else {
          probe.notify(() => {
            throw new SchedulerError(
              'PLUGIN_CONTRACT',
              `plugin "${plugin}" must not set the response header ${JSON.stringify(name)}: ${problem}`,
            )
          })
        }
      }
    })
  }
  return wanted
}

function problemOf(name: string, value: string): string | undefined {
  if (!NAME.test(name)) return 'a name is a lower-case token'
  if (FRAMING.has(name)) return "it frames the message, which is the gateway's to do"
  if (typeof value !== 'string' || !VALUE.test(value)) return 'a value is printable ASCII'
  if (name.length + value.length > MAX_CHARACTERS) {
    return `it is longer than ${MAX_CHARACTERS} characters`
  }
  return undefined
}
