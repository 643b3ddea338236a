import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { hasRole } from './role.ts'

const ROLES = ['decode', 'prefill-decode', 'both', 'encode-prefill-decode']

/** Keeps endpoints that decode; one without a role does everything. */
export const decodeFilter = definePlugin({
  kind: 'filter',
  type: 'decode-filter',
  description: 'Keeps endpoints that decode, by their role label; those without one too.',
  params: Type.Object({}),
  create: () => ({
    filter: (_request, endpoints) => endpoints.filter((each) => hasRole(each, ROLES, true)),
  }),
})
