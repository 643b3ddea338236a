import { Type } from 'typebox'
import { type AnyPlugin, definePlugin } from '../../src/framework/plugin.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

/** A handler for several profiles, which the built-in plugins lack. */
const routingHandler = definePlugin({
  kind: 'handler',
  type: 'routing-handler',
  description: 'Takes the first profile.',
  params: Type.Object({}),
  create: () => ({ next: (_request, profiles) => ({ primary: profiles[0] ?? '' }) }),
})

/** The built-in plugins, and what tests need besides. */
export const plugins: readonly AnyPlugin[] = [...builtinPlugins, routingHandler]
