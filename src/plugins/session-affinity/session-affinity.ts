import { type Static, Type } from 'typebox'
import type { Endpoint } from '../../framework/endpoint.ts'
import type { Observer, PluginUse, Reads, Remark } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import type { Decision } from '../../framework/routing/decision.ts'
import { CLOCK, ENDPOINTS, type Endpoints } from '../../framework/services.ts'
import type { Services } from '../../framework/token.ts'
import { EncodedEndpointHeader } from './encoded-endpoint-header.ts'
import { SessionTable } from './session-table.ts'

/** Params of both plugins. */
export const SESSION_PARAMS = Type.Object({
  strategy: Type.Union([Type.Literal('encoded_endpoint_header'), Type.Literal('session_id')], {
    default: 'encoded_endpoint_header',
    description:
      'Who remembers: the client, which sends back a header of the response, or the picker, by an id that the client sends.',
  }),
  profileName: Type.String({
    default: '',
    description: 'Profile whose endpoint is remembered; the one that counts when empty.',
  }),
  encodedEndpointHeaderConfig: Type.Object(
    {
      header: Type.String({
        minLength: 1,
        default: 'x-session-token',
        description: 'Header of the response and of later requests that names the endpoint.',
      }),
    },
    { default: {}, description: 'Of strategy encoded_endpoint_header.' },
  ),
  sessionIdConfig: Type.Object(
    {
      sources: Type.Array(
        Type.Object({
          header: Type.String({ minLength: 1, description: 'Request header with the id.' }),
        }),
        {
          minItems: 1,
          default: [{ header: 'x-session-id' }],
          description: 'Where the id of a session stands; the first that is not empty counts.',
        },
      ),
      evictionTtlSeconds: Type.Number({
        exclusiveMinimum: 0,
        default: 300,
        description: 'A session that is not used for this long is forgotten.',
      }),
      evictionSweepSeconds: Type.Number({
        exclusiveMinimum: 0,
        default: 10,
        description: 'How often forgotten sessions are taken out of memory.',
      }),
    },
    { default: {}, description: 'Of strategy session_id.' },
  ),
})

export const SESSION_SERVICES = { clock: CLOCK, endpoints: ENDPOINTS }

/** What has no effect in the params of either plugin. */
export function sessionRemarks(
  params: Static<typeof SESSION_PARAMS>,
  { profiles }: PluginUse,
): readonly Remark[] {
  const remarks: Remark[] = []
  const unused = (message: string, ...path: readonly (string | number)[]) =>
    remarks.push({ kind: 'unused', path, message })
  const { strategy, profileName } = params
  const byId = strategy === 'session_id'
  unused(
    `the strategy is ${strategy}, so that this has no effect; change it, or remove this`,
    byId ? 'encodedEndpointHeaderConfig' : 'sessionIdConfig',
  )
  const headers = params.sessionIdConfig.sources.map(({ header }) => header.toLowerCase())
  for (const [i, header] of headers.entries()) {
    if (byId && headers.indexOf(header) < i) {
      unused(`"${header}" stands before this already; remove one`, 'sessionIdConfig', 'sources', i)
    }
  }
  if (profileName !== '' && !profiles.includes(profileName)) {
    const message = `no profile is named "${profileName}", so that no session is ever bound; name one of: ${profiles.join(', ')}`
    remarks.push({ kind: 'warning', path: ['profileName'], message, known: profiles })
  }
  return remarks
}

/** Where a session's requests went before, and what it takes to know that. */
export interface SessionAffinity extends Required<Pick<Observer, 'picked' | 'responseHeaders'>> {
  /** The endpoint that the request's session is bound to; undefined without a session, or when it is not among these. */
  bound(request: InferenceRequest, endpoints: readonly Endpoint[]): Endpoint | undefined
}

/** Whether the plugins set a header of the response: where the client remembers. */
export function setsHeader({ strategy }: Static<typeof SESSION_PARAMS>): boolean {
  return strategy === 'encoded_endpoint_header'
}

/** The headers in which a request names its session. */
export function sessionHeaders(params: Static<typeof SESSION_PARAMS>): Reads {
  const { strategy, encodedEndpointHeaderConfig, sessionIdConfig } = params
  return {
    headers:
      strategy === 'session_id'
        ? sessionIdConfig.sources.map(({ header }) => header)
        : [encodedEndpointHeaderConfig.header],
  }
}

export function sessionAffinity(
  params: Static<typeof SESSION_PARAMS>,
  { clock, endpoints }: Services<typeof SESSION_SERVICES>,
): SessionAffinity {
  const { strategy, profileName, encodedEndpointHeaderConfig, sessionIdConfig } = params
  const chosen: Chosen = (target, decision) => endpointOf(profileName, target, decision, endpoints)
  return strategy === 'session_id'
    ? new SessionTable(sessionIdConfig, chosen, clock)
    : new EncodedEndpointHeader(encodedEndpointHeaderConfig.header, chosen)
}

/** The endpoint of a decision that is to be remembered; undefined when its profile did not run or picked none. */
export type Chosen = (target: Endpoint, decision: Decision) => Endpoint | undefined

function endpointOf(
  profileName: string,
  target: Endpoint,
  decision: Decision,
  endpoints: Endpoints,
): Endpoint | undefined {
  if (profileName === '') return target
  const picked = decision.profiles.find(({ profile }) => profile === profileName)?.picked[0]
  return endpoints.list().find(({ hostPort }) => hostPort === picked)
}
