import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'
import { hasRole } from './role.ts'

const ROLES = ['encode', 'encode-prefill', 'encode-prefill-decode']

/** Keeps endpoints whose role says that they encode images, audio and video. */
export const encodeFilter = definePlugin({
  kind: 'filter',
  type: 'encode-filter',
  description: 'Keeps endpoints that encode multimodal input, by their role label.',
  params: Type.Object({}),
  create: () => ({
    filter: (_request, endpoints) => endpoints.filter((each) => hasRole(each, ROLES, false)),
  }),
})
