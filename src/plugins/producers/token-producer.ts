import { Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import { definePlugin } from '../../framework/plugin.ts'
import { TOKENIZER } from '../../framework/services.ts'

/**
 * Makes the request's token ids: the engine's own where a tokenizer is at hand, else an estimate of one pseudo token per
 * four bytes.
 */
export const tokenProducer = definePlugin({
  kind: 'producer',
  type: 'token-producer',
  aliases: ['tokenizer'],
  description: "Turns the prompt into the engine's token ids, or estimates them.",
  params: Type.Object({
    modelName: Type.Optional(
      Type.String({
        description: 'Model whose tokenizer folder to use when the served name has none.',
      }),
    ),
    vllm: Type.Optional(
      Type.Object(
        {
          url: Type.String({
            default: 'http://localhost:8000',
            description:
              'Base URL of an engine whose /tokenize is asked instead of a local tokenizer.',
          }),
        },
        { description: 'Ask an engine for the tokens.' },
      ),
    ),
  }),
  inject: { tokenizer: TOKENIZER },
  produces: PROMPT_TOKENS,
  create: (_params, { tokenizer }) => ({
    produce: (request, _endpoints, signal) => tokenizer.tokenize(request, signal),
  }),
})
