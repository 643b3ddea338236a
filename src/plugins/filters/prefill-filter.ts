import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { hasRole } from './role.ts'

const ROLES = ['prefill', 'encode-prefill', 'prefill-decode', 'both', 'encode-prefill-decode']

/** Keeps endpoints whose role says that they prefill. */
export const prefillFilter = definePlugin({
  kind: 'filter',
  type: 'prefill-filter',
  description: 'Keeps endpoints that prefill, by their role label.',
  params: Type.Object({}),
  create: () => ({
    filter: (_request, endpoints) => endpoints.filter((each) => hasRole(each, ROLES, false)),
  }),
})
