import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** Runs the only profile there is, once; its result counts. */
export const singleProfileHandler = definePlugin({
  kind: 'handler',
  type: 'single-profile-handler',
  description: 'Runs the only profile there is.',
  params: Type.Object({}),
  create: () => ({
    next: (_request, profiles, results) =>
      results.has(profiles[0]!) ? { primary: profiles[0]! } : { run: [profiles[0]!] },
  }),
})
