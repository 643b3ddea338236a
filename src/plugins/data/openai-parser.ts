import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** Stands for the reading of OpenAI's requests, which is always done. */
export const openaiParser = definePlugin({
  kind: 'observer',
  type: 'openai-parser',
  description: "Reads requests of OpenAI's API, as is done without it.",
  params: Type.Object({}),
  create: () => ({}),
})
