import type { ChatPrompt, EncodingOptions, TextPrompt, TokensPrompt } from '../framework/request.ts'
import type { ChatTemplate } from './chat/chat-template.ts'
import type { EngineRules } from './chat/engine-rules.ts'
import { renderChat } from './chat/render-chat.ts'
import type { RenderedChat } from './chat/rendered-chat.ts'
import { Unrenderable } from './chat/unrenderable.ts'
import { type Doubt, doubt } from './doubt.ts'
import { commonIds, mediaIds, withMediaIds } from './media-ids.ts'
import type { EncodedText, ModelTokenizer } from './model-tokenizer.ts'
import type { Outcome } from './outcome.ts'
import { truncated } from './truncate.ts'

/** What is known of the engines that will serve the request. */
export interface EngineFacts {
  /** What they may do, the likeliest first; at least one. */
  readonly ruleSets: readonly EngineRules[]
  /** How many tokens the model takes; undefined when unknown. */
  readonly contextTokens: number | undefined
  /** Messages that a chat may have; the default when absent. */
  readonly maxMessages?: number
}

/** Renders a chat with the template that the request brings; undefined where that is not allowed. */
export type RenderOwn = (
  template: string,
  tokens: ChatTemplate['tokens'],
  prompt: ChatPrompt,
  ruleSets: readonly EngineRules[],
) => Promise<RenderedChat | Doubt>

type Encoded = EncodedText | Doubt

/**
 * Renders a prompt with the model's template where it is a chat, and encodes it. Stays synchronous when all of its text is
 * short or was seen before.
 *
 * @throws {RangeError} for nesting deeper than the stack
 */
export function encodePrompt(
  tokenizer: ModelTokenizer,
  prompt: TextPrompt | ChatPrompt,
  facts: EngineFacts,
  renderOwn?: RenderOwn,
): Outcome | Promise<Outcome> {
  if (prompt.kind === 'text') return encodeTexts(tokenizer, prompt, facts)
  const { template } = tokenizer
  const own = ownTemplate(prompt)
  if (own !== undefined && renderOwn !== undefined) {
    return renderOwn(own, template?.tokens ?? {}, prompt, facts.ruleSets).then((chat) =>
      'code' in chat ? chat : encodeChat(tokenizer, prompt, chat, facts),
    )
  }
  if (template === undefined) return tokenizer.templateFault!
  const chat = renderChat(template, prompt, facts.ruleSets, facts)
  if (chat instanceof Unrenderable) return chat.doubt
  return encodeChat(tokenizer, prompt, chat, facts)
}

/** Ids that the client sent, cut where the request asks for it. */
export function clientTokens({ prompts, encoding }: TokensPrompt, facts: EngineFacts): Outcome {
  if (encoding === undefined) return { prompts, doubt: undefined }
  const { options, doubt: unsure } = textEncoding(encoding, facts)
  const cut = prompts.map((ids) =>
    truncated(ids, { before: 0, after: 0 }, options, facts.contextTokens),
  )
  return {
    prompts: cut.map(({ ids }) => ids),
    doubt: unsure ?? cut.find(({ doubt: why }) => why !== undefined)?.doubt,
  }
}

function ownTemplate({ api = 'chat', body }: ChatPrompt): string | undefined {
  const own = body.chat_template
  // A name without a tag stands for a template of the engine's own.
  return api === 'chat' && typeof own === 'string' && own.includes('{') ? own : undefined
}

function encodeTexts(
  tokenizer: ModelTokenizer,
  { texts, encoding }: TextPrompt,
  facts: EngineFacts,
): Outcome | Promise<Outcome> {
  const { options, doubt: unsure } = textEncoding(encoding, facts)
  const encoded = texts.map((text) => tokenizer.encode(text, options.addSpecialTokens !== false))
  return afterAll(encoded, (settled) => {
    const prompts: Int32Array[] = []
    let first = unsure ?? tokenizer.encoderDoubts.text
    for (const one of settled) {
      if ('code' in one) return one
      const cut = cutTo(tokenizer, one.ids, options, facts)
      prompts.push(cut.ids)
      first ??= one.doubt ?? cut.doubt
    }
    return { prompts, doubt: first }
  })
}

const DEFAULTS: EncodingOptions = {
  addSpecialTokens: true,
  truncateTokens: undefined,
  truncationSide: undefined,
  unfollowed: undefined,
}

/** The options without the side that older engines do not read, and why they may not be what the engine does. */
function textEncoding(
  encoding: EncodingOptions = DEFAULTS,
  { ruleSets }: EngineFacts,
): { readonly options: EncodingOptions; readonly doubt: Doubt | undefined } {
  const { truncateTokens, truncationSide: side, unfollowed } = encoding
  const why =
    unfollowed === undefined
      ? undefined
      : doubt('completion-fields', `the request has ${unfollowed}, which changes its prompt`)
  if (truncateTokens === undefined || side === undefined) return { options: encoding, doubt: why }
  const readers = ruleSets.filter(({ truncationSide }) => truncationSide).length
  const options = readers === 0 ? { ...encoding, truncationSide: undefined } : encoding
  const isMixed = readers > 0 && readers < ruleSets.length
  const differ = doubt('engine-version', 'releases of the engine differ in truncation_side')
  return { options, doubt: why ?? (isMixed ? differ : undefined) }
}

function encodeChat(
  tokenizer: ModelTokenizer,
  prompt: ChatPrompt,
  { parts, markedParts, encoding, doubt: why }: RenderedChat,
  facts: EngineFacts,
): Outcome | Promise<Outcome> {
  const addSpecialTokens = encoding.addSpecialTokens === true
  const texts = markedParts === undefined ? [parts] : [parts, markedParts]
  const encoded = texts.map((each) => tokenizer.encodeParts(each, addSpecialTokens))
  return afterAll(encoded, ([whole, withMark]) => {
    if ('code' in whole!) return whole
    const first = tokenizer.encoderDoubts.chat ?? why ?? whole!.doubt
    if (withMark === undefined) {
      const cut = cutTo(tokenizer, whole!.ids, encoding, facts)
      return { prompts: [cut.ids], doubt: first ?? cut.doubt }
    }
    if ('code' in withMark) return withMark
    const exactUpTo = commonIds(whole!.ids, withMark.ids)
    const media = mediaIds(prompt.body)
    // An unfit template or a cut at the left leaves nothing that is known.
    const isKnown = first?.code === 'media' && encoding.truncateTokens === undefined
    return {
      prompts: [media.length > 0 ? withMediaIds(whole!.ids, exactUpTo, media) : whole!.ids],
      doubt: first,
      ...(isKnown && { exactUpTo }),
    }
  })
}

function cutTo(
  tokenizer: ModelTokenizer,
  ids: Int32Array,
  encoding: EncodingOptions,
  { contextTokens }: EngineFacts,
) {
  const special =
    encoding.addSpecialTokens === false ? { before: 0, after: 0 } : tokenizer.specialTokens
  return truncated(ids, special, encoding, contextTokens)
}

/** Stays synchronous when all of the texts are encoded. */
function afterAll(
  encoded: readonly (Encoded | Promise<Encoded>)[],
  then: (settled: readonly Encoded[]) => Outcome,
): Outcome | Promise<Outcome> {
  if (encoded.some((one) => one instanceof Promise)) return Promise.all(encoded).then(then)
  return then(encoded as readonly Encoded[])
}
