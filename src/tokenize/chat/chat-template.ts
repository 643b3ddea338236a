import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { JinjaTemplate } from '../jinja/jinja-template.ts'
import { type ContentFormat, contentFormatOf } from './content-format.ts'
import type { EngineRules } from './engine-rules.ts'

/** Names of tokens in tokenizer_config.json that templates may read. */
const TOKEN_NAMES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const

/** Tokens by the names under which templates read them. */
export type TokenNames = Readonly<Record<string, string>>

/** A chat in which a message of the role system stands after others; engines try templates with it. */
const LATE_SYSTEM = ['system', 'user', 'system', 'user'].map((role) => ({ role, content: 't' }))

/**
 * The chat template of one model, as mounted by the operator: `chat_template.jinja`, else `chat_template` of
 * tokenizer_config.json, which may be a list of named ones.
 */
export class ChatTemplate {
  /** The special tokens of the model. */
  readonly tokens: TokenNames
  readonly #default: NamedTemplate
  readonly #tools: NamedTemplate | undefined
  #mergesLateSystem: boolean | undefined

  private constructor(first: NamedTemplate, tools: NamedTemplate | undefined, tokens: TokenNames) {
    this.#default = first
    this.#tools = tools
    this.tokens = tokens
  }

  /**
   * A template that is given as text.
   *
   * @throws when it does not parse
   */
  static of(text: string, tokens: TokenNames): ChatTemplate {
    return new ChatTemplate(new NamedTemplate(text), undefined, tokens)
  }

  /**
   * @returns undefined when the model has no chat template
   * @throws when the template does not parse
   */
  static read(folder: string, config: Readonly<Record<string, unknown>>): ChatTemplate | undefined {
    const templates = new Map<string, NamedTemplate>()
    for (const [name, text] of templateTexts(folder, config)) {
      templates.set(name, new NamedTemplate(text))
    }
    const first = templates.get('default')
    if (first === undefined) return undefined
    const tokens: Record<string, string> = {}
    for (const name of TOKEN_NAMES) {
      const value = config[name]
      const content =
        typeof value === 'object' ? (value as { content?: unknown } | null)?.content : value
      if (typeof content === 'string') tokens[name] = content
    }
    return new ChatTemplate(first, templates.get('tool_use'), tokens)
  }

  /** @param loops the engine's way to tell it, see `contentFormatOf` */
  contentFormat(withTools: boolean, loops: EngineRules['contentLoops']): ContentFormat {
    return this.#pick(withTools).contentFormat(loops)
  }

  /** True when the template has the role in quotes: then it is trusted to know what to do with it. */
  namesDeveloper(withTools: boolean): boolean {
    return this.#pick(withTools).namesDeveloper
  }

  /**
   * True when a message of the role system may only stand first, which an engine finds out by trying
   * (`_detect_merge_inline_system` of vLLM's Anthropic endpoint).
   */
  get mergesLateSystem(): boolean {
    this.#mergesLateSystem ??= [this.#default, this.#tools].some((template) => {
      if (template === undefined) return false
      try {
        template.template.render({ messages: LATE_SYSTEM, add_generation_prompt: false })
        return false
      } catch {
        return true
      }
    })
    return this.#mergesLateSystem
  }

  /** True when the template's text has the word in it: else a variable of that name cannot matter. */
  mentions(word: string, withTools: boolean): boolean {
    return this.#pick(withTools).mentions(word)
  }

  /**
   * The text in parts, as `JinjaTemplate.renderParts` gives them.
   *
   * @throws when the template refuses the messages or does not get what it needs
   */
  render(variables: Readonly<Record<string, unknown>>, withTools: boolean): readonly string[] {
    return this.#pick(withTools).template.renderParts(variables, this.tokens)
  }

  #pick(withTools: boolean): NamedTemplate {
    return (withTools ? this.#tools : undefined) ?? this.#default
  }
}

class NamedTemplate {
  readonly template: JinjaTemplate
  readonly namesDeveloper: boolean
  readonly #text: string
  readonly #mentioned = new Map<string, boolean>()
  readonly #formats = new Map<EngineRules['contentLoops'], ContentFormat>()

  constructor(text: string) {
    this.#text = text
    this.template = new JinjaTemplate(text)
    this.namesDeveloper = /"developer"|'developer'/.test(text)
  }

  mentions(word: string): boolean {
    let isMentioned = this.#mentioned.get(word)
    if (isMentioned === undefined) {
      isMentioned = this.#text.includes(word)
      this.#mentioned.set(word, isMentioned)
    }
    return isMentioned
  }

  contentFormat(loops: EngineRules['contentLoops']): ContentFormat {
    let format = this.#formats.get(loops)
    if (format === undefined) {
      format = contentFormatOf(this.template.tree, loops)
      this.#formats.set(loops, format)
    }
    return format
  }
}

function* templateTexts(
  folder: string,
  config: Readonly<Record<string, unknown>>,
): Iterable<readonly [string, string]> {
  try {
    yield ['default', readFileSync(join(folder, 'chat_template.jinja'), 'utf8')]
    return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const entry = config.chat_template
  if (typeof entry === 'string') yield ['default', entry]
  if (!Array.isArray(entry)) return
  for (const item of entry as readonly { name?: unknown; template?: unknown }[]) {
    if (typeof item.name === 'string' && typeof item.template === 'string') {
      yield [item.name, item.template]
    }
  }
}
