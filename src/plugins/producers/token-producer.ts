import { type Static, Type } from 'typebox'
import { PROMPT_TOKENS } from '../../framework/attributes.ts'
import { definePlugin, type Remark } from '../../framework/plugin.ts'
import type { InferenceRequest } from '../../framework/request.ts'
import { promptTokensOf } from '../../framework/routing/request-load.ts'
import { TOKENIZER } from '../../framework/services.ts'
import { sideTable } from '../../framework/side-table.ts'

const TokenProducer = Type.Object({
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
  source: Type.Union([Type.Literal('auto'), Type.Literal('local'), Type.Literal('engine')], {
    default: 'auto',
    description:
      "Where ids come from without vllm.url: `local` from the model's files, `engine` from the engines of the pool, `auto` from files where there are any and they prove right.",
  }),
  maxMismatches: Type.Integer({
    default: 3,
    minimum: 1,
    maximum: 1_000_000,
    description:
      "With `auto`: requests of one model whose token counts differ from the engine's after which the engines are asked instead.",
  }),
  trustRequestChatTemplate: Type.Boolean({
    default: false,
    description:
      'Render the chat template that a request brings, in a thread, for at most 50 ms and 8 MiB of text.',
  }),
})
export type TokenProducerParams = Static<typeof TokenProducer>

/**
 * Makes the request's token ids: the engine's own where a tokenizer is at hand, else an estimate of one pseudo token per
 * four bytes.
 */
export const tokenProducer = definePlugin({
  kind: 'producer',
  type: 'token-producer',
  aliases: ['tokenizer'],
  description: "Turns the prompt into the engine's token ids, or estimates them.",
  params: TokenProducer,
  inject: { tokenizer: TOKENIZER },
  produces: PROMPT_TOKENS,
  lint: ({ source, maxMismatches, modelName, vllm }) => {
    const remarks: Remark[] = []
    const unused = (path: string, why: string) =>
      remarks.push({ kind: 'unused', path: [path], message: `${why}; remove it` })
    if (vllm !== undefined) {
      if (source !== 'auto') unused('source', 'the engine at vllm.url is asked whatever this says')
      if (maxMismatches !== 3) unused('maxMismatches', 'the engine at vllm.url is asked anyway')
    } else if (source !== 'auto' && maxMismatches !== 3) {
      unused('maxMismatches', `source "${source}" never changes`)
    }
    if (source === 'engine' && modelName !== undefined) {
      unused('modelName', 'source "engine" uses no files')
    }
    return remarks
  },
  create: (_params, { tokenizer }) => {
    /** Tokens that requests have, which an engine's count can prove wrong; the ids are forgotten before it comes. */
    const counts = sideTable<InferenceRequest, number | undefined>()
    return {
      produce(request, _endpoints, cancellation) {
        // Ids that the client has sent prove nothing.
        if (request.prompt?.kind !== 'tokens') counts.set(request, 0)
        return tokenizer.tokenize(request, cancellation)
      },
      picked(request) {
        if (counts.get(request) === undefined) return
        const isExact = request.attributes.get(PROMPT_TOKENS)?.exact === true
        counts.set(request, isExact ? promptTokensOf(request) : undefined)
      },
      ended(request, _endpoint, { usage }) {
        const here = counts.get(request)
        if (here === undefined || usage === undefined) return
        tokenizer.counted?.(request.targetModel, here, usage.promptTokens)
      },
    }
  },
})
