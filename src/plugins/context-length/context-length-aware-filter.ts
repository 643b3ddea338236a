import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { promptLength, RANGE_LABEL, rangeOf } from './length-range.ts'

/**
 * Keeps endpoints whose range of prompt lengths holds this prompt, and those without a range; all when the prompt's
 * length is not known. A range that cannot be read holds nothing.
 */
export const contextLengthAwareFilter = definePlugin({
  kind: 'filter',
  type: 'context-length-aware-filter',
  description: "Keeps endpoints that are for prompts of the request's length.",
  params: Type.Object({ label: Type.String(RANGE_LABEL) }),
  needs: [PROMPT_TOKENS],
  create: ({ label }) => ({
    filter(request, endpoints) {
      const length = promptLength(request)
      if (length === undefined) return endpoints
      return endpoints.filter((endpoint) => {
        const range = rangeOf(endpoint, label)
        if (range === undefined) return true
        return range !== 'malformed' && range.min <= length && length <= range.max
      })
    },
  }),
})
