import { Type } from 'typebox'
import { attributeKey } from '../../src/framework/attributes.ts'
import { type AnyPlugin, definePlugin } from '../../src/framework/plugin.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

/** A handler for several profiles, which the built-in plugins lack. */
const routingHandler = definePlugin({
  kind: 'handler',
  type: 'routing-handler',
  description: 'Takes the first profile.',
  params: Type.Object({}),
  selects: (_params, profiles) => profiles.slice(0, 1),
  create: () => ({ next: (_request, profiles) => ({ primary: profiles[0] ?? '' }) }),
})

const MOOD = attributeKey<number>('Mood')

const moodProducer = definePlugin({
  kind: 'producer',
  type: 'mood-producer',
  description: 'Makes what mood-scorer needs.',
  params: Type.Object({}),
  produces: MOOD,
  create: () => ({ produce: () => 1 }),
})

const moodScorer = definePlugin({
  kind: 'scorer',
  type: 'mood-scorer',
  description: 'Scores by what mood-producer makes.',
  params: Type.Object({}),
  needs: [MOOD],
  create: () => ({
    score: ({ attributes }, endpoints) => endpoints.map(() => attributes.get(MOOD) ?? 0),
  }),
})

/** Plugins as a file's modules have them. */
export const modulePlugins: readonly AnyPlugin[] = [moodProducer, moodScorer]

/** The built-in plugins, and what tests need besides. */
export const plugins: readonly AnyPlugin[] = [...builtinPlugins, routingHandler]
