import type { Endpoint } from '../../framework/endpoint.ts'

/** Label that says which stages of a request a model server does (llm-d's convention). */
const ROLE_LABEL = 'llm-d.ai/role'

/** True when the endpoint has one of these roles. @param unlabelled the answer for an endpoint without a role */
export function hasRole(
  endpoint: Endpoint,
  roles: readonly string[],
  unlabelled: boolean,
): boolean {
  const role = endpoint.labels.get(ROLE_LABEL)
  return role === undefined ? unlabelled : roles.includes(role)
}
