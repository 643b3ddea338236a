import { randomBytes } from 'node:crypto'
import type { ContentFormat } from './content-format.ts'
import type { EngineRules } from './engine-rules.ts'
import { type Fields, isAbsent, isFields, without } from './fields.ts'
import { refused, type Unrenderable } from './unrenderable.ts'

/** Stands for a medium where the place at which exactness ends is looked for; no client can know it. */
const MEDIA_MARK = `\uFDD0${randomBytes(8).toString('hex')}`

/** How media are put into what the template gets. */
export type MediaForm =
  /** As the engine does, as far as that is known without the model. */
  | 'engine'
  /** As a mark at the first place where they could be. */
  | 'marked'

export interface PartsOptions {
  readonly format: ContentFormat
  readonly rules: EngineRules
  readonly media: MediaForm
}

/** A message's content as a template gets it. */
export interface Content {
  readonly value: string | readonly Fields[]
  readonly hasMedia: boolean
}

/** Type of a part to the kind of medium that a template is told of (`MM_PARSER_MAP` of vLLM's chat_utils.py). */
const MEDIA: Readonly<Record<string, string>> = {
  image_url: 'image',
  input_image: 'image',
  image_pil: 'image',
  image_embeds: 'image',
  audio_url: 'audio',
  input_audio: 'audio',
  audio_embeds: 'audio',
  video_url: 'video',
  video_embeds: 'video',
  prompt_embeds: 'prompt_embeds',
}

/** Fields of parts that an engine knows and does not hand on to the template. */
const KNOWN_PART_FIELDS = [
  ...['image_url', 'image_pil', 'image_embeds', 'audio_url', 'audio_embeds', 'input_audio'],
  ...['video_url', 'video_embeds', 'data', 'file', 'uuid', 'prompt_cache_breakpoint'],
  ...['type', 'text', 'refusal', 'thinking', 'closed', 'name'],
]

const BILLING_HEADER = 'x-anthropic-billing-header'

/** True for the text of a system message from which the newest engines cut the first line. */
export function hasBillingHeader(text: unknown): text is string {
  return typeof text === 'string' && text.startsWith(BILLING_HEADER)
}

/** True when a template that gets parts would be given a field that older engines left out. */
export function hasPartExtras(part: Fields): boolean {
  return Object.keys(part).some((name) => !KNOWN_PART_FIELDS.includes(name))
}

/**
 * A message's content: a text, its parts joined by line ends, or the list of parts, as the template wants it.
 *
 * In a text the engine puts placeholders for media at the front, whose words only the model's own code knows.
 */
export function contentOf(
  content: unknown,
  role: string,
  options: PartsOptions,
): Content | Unrenderable {
  const { format, rules, media } = options
  const items = partsOf(content)
  if (items === undefined) return refused('the content of a message is neither text nor parts')
  const parts: Fields[] = []
  let hasMedia = false
  for (const item of role === 'system' && rules.billingStripped
    ? items.flatMap(withoutBilling)
    : items) {
    const part = typeof item === 'string' ? textPart(item) : readPart(item, rules)
    if (part === undefined) continue
    if ('refused' in part) return part as Unrenderable
    const isMedium = part.type !== 'text' && part.type !== 'tool_reference'
    hasMedia ||= isMedium
    parts.push(isMedium && (media === 'marked' || isEmbeds(part)) ? textPart(MEDIA_MARK) : part)
  }
  if (format === 'openai') return { value: parts, hasMedia }
  const texts = parts.map(({ text, name }) => (text ?? name ?? '') as string)
  if (hasMedia && media === 'marked') texts.unshift(MEDIA_MARK)
  return { value: texts.filter((text) => text !== '').join('\n'), hasMedia }
}

function partsOf(content: unknown): readonly unknown[] | undefined {
  if (isAbsent(content)) return []
  if (typeof content === 'string') return [content]
  return Array.isArray(content) ? content : undefined
}

/** The part as a template gets it; undefined for one that the engine leaves out. */
function readPart(part: unknown, rules: EngineRules): Fields | Unrenderable | undefined {
  if (!isFields(part)) return refused('a message has a part that is no object')
  const type = typeOf(part)
  const extras = rules.partExtras ? without(part, KNOWN_PART_FIELDS) : {}
  if (type === 'tool_reference') {
    return typeof part.name === 'string' ? { type, name: part.name } : refused('a part has no name')
  }
  const medium = Object.hasOwn(MEDIA, type) ? MEDIA[type] : undefined
  if (medium !== undefined) return { type: medium, ...extras }
  const text = textOf(type, part, rules)
  if (text === null) return undefined
  if (text === undefined) return refused('a message has a part of an unknown type')
  return { ...textPart(text), ...extras }
}

/** A part without a type, or with a `uuid`, is what its field says. */
function typeOf(part: Fields): string {
  if (typeof part.type === 'string' && isAbsent(part.uuid)) return part.type
  const field = Object.keys(part).find((name) => Object.hasOwn(MEDIA, name))
  return field ?? (typeof part.type === 'string' ? part.type : '')
}

/** Null for a part without content, undefined for one that is no text. */
function textOf(type: string, part: Fields, rules: EngineRules): string | null | undefined {
  const field = type === 'refusal' || type === 'thinking' ? type : 'text'
  if (type === 'output_text' && !rules.outputText) return undefined
  if (!['text', 'input_text', 'output_text', 'refusal', 'thinking'].includes(type)) return undefined
  const value = part[field]
  if (isAbsent(value)) return type === 'text' || type === 'refusal' ? null : undefined
  return typeof value === 'string' ? value : undefined
}

/** Cuts the first line of a system text that is the billing line; a part of which nothing is left goes. */
function withoutBilling(item: unknown): unknown[] {
  const isPart = isFields(item) && item.type === 'text'
  const text = isPart ? item.text : item
  if (!hasBillingHeader(text)) return [item]
  const end = text.indexOf('\n')
  const rest = end < 0 ? '' : text.slice(end + 1)
  if (rest === '') return []
  return [isPart ? { ...item, text: rest } : rest]
}

function textPart(text: string): Fields {
  return { type: 'text', text }
}

function isEmbeds(part: Fields): boolean {
  return part.type === 'prompt_embeds'
}
