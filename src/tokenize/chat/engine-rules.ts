/**
 * How one release of vLLM turns a request into the variables of a chat template and the text into ids. Every field is one
 * thing that differs between releases; read in the sources of the releases named in `CHANGES`.
 */
export interface EngineRules {
  /** Which loops of a template show that it wants a message's content as a list of parts. */
  readonly contentLoops: 'direct' | 'named' | 'macros'
  /** What becomes of `reasoning` and `reasoning_content` of an assistant's message. */
  readonly reasoning: 'dropped' | 'either' | 'reasoning' | 'renamed'
  /** Whether `tool_calls: []` reaches the template. */
  readonly emptyToolCalls: boolean
  /** What becomes of a tool call's arguments that are no JSON object. */
  readonly toolArguments: 'as-parsed' | 'null-emptied' | 'emptied'
  /** Whether a developer's message has `tools`. */
  readonly developerTools: boolean
  /** Whether the role developer becomes system where the template does not name it, all system messages joined. */
  readonly developerToSystem: boolean
  /** Whether `chat_template_kwargs` replace the request's own fields, or the other way round. */
  readonly kwargsReplaceFields: boolean
  /** What `reasoning_effort` does: nothing; a variable that is always there; a variable; also one for `enable_thinking`. */
  readonly reasoningEffort: 'ignored' | 'always' | 'passed' | 'switches-thinking'
  /** When the parts of a tool's message are joined though the template wants a list. */
  readonly toolParts: 'never-joined' | 'texts-joined' | 'joined-if-all-text'
  /** Whether a message's `task` reaches the template. */
  readonly task: boolean
  /** Whether a tool's `defer_loading` is a field of its own rather than one that the engine does not know. */
  readonly deferLoading: boolean
  /** The same of a function's `strict`. */
  readonly strict: boolean
  /** Whether fields of a tool that the engine does not know reach the template. */
  readonly toolExtras: boolean
  /** The same of a content part, where the template gets parts. */
  readonly partExtras: boolean
  /** Whether the billing line of a coding client is cut from system messages. */
  readonly billingStripped: boolean
  /** Whether a part of the type `output_text` is known. */
  readonly outputText: boolean
  /** Whether `truncation_side` of the request is read. */
  readonly truncationSide: boolean
  /** How `/v1/messages` becomes a chat. */
  readonly messagesApi: MessagesRules
  /** How `/v1/responses` becomes a chat. */
  readonly responsesApi: ResponsesRules
}

export interface MessagesRules {
  /** Whether the results of tools and thinking are understood. */
  readonly blocks: boolean
  /** Which messages are left out: without content and tool calls, none, or a user's without content. */
  readonly dropped: 'empty' | 'none' | 'user-without-content'
  /** Whether blocks of the system prompt that begin with the billing line are left out. */
  readonly billingStripped: boolean
  /** Whether `chat_template_kwargs` is read. */
  readonly kwargs: boolean
  /** Where a message of the role system goes. */
  readonly inlineSystem: 'refused' | 'merged' | 'merged-if-needed'
  /** Whether `output_config.effort` is read. */
  readonly effort: boolean
  /** Whether `thinking` is read. */
  readonly thinking: boolean
  /** Whether a tool's `defer_loading` is handed on. */
  readonly deferLoading: boolean
  /** The same of its `strict`. */
  readonly strict: boolean
}

export interface ResponsesRules {
  /** Whether `reasoning.effort` and `chat_template_kwargs` are read as a chat's. */
  readonly kwargs: boolean
  /** Whether items of one assistant's turn become one message. */
  readonly merged: boolean
  /** The same of an assistant's message whose content is a text. */
  readonly shortFormMerged: boolean
  /** Whether tools are printed with the fields of a chat's tools. */
  readonly tools: boolean
  /** Whether special tokens are added to what the template writes. */
  readonly addsSpecialTokens: boolean
  /** Whether an unfinished last item is continued. */
  readonly continued: boolean
}

/** The oldest release whose sources were read. */
const FIRST: EngineRules = {
  contentLoops: 'direct',
  reasoning: 'dropped',
  emptyToolCalls: true,
  toolArguments: 'as-parsed',
  developerTools: false,
  developerToSystem: false,
  kwargsReplaceFields: true,
  reasoningEffort: 'ignored',
  toolParts: 'never-joined',
  task: false,
  deferLoading: false,
  strict: false,
  toolExtras: true,
  partExtras: false,
  billingStripped: false,
  outputText: false,
  truncationSide: false,
  messagesApi: {
    blocks: false,
    dropped: 'empty',
    billingStripped: false,
    kwargs: false,
    inlineSystem: 'refused',
    effort: false,
    thinking: false,
    deferLoading: false,
    strict: false,
  },
  responsesApi: {
    kwargs: false,
    merged: false,
    shortFormMerged: false,
    tools: false,
    addsSpecialTokens: false,
    continued: false,
  },
}

type Change = Partial<Omit<EngineRules, 'messagesApi' | 'responsesApi'>> & {
  readonly messagesApi?: Partial<MessagesRules>
  readonly responsesApi?: Partial<ResponsesRules>
}

/**
 * The releases whose sources were read (tags of https://github.com/vllm-project/vllm), oldest first, each with what it does
 * otherwise than the one before. A release that is not named does what its neighbours on both sides do, or may do either.
 */
const CHANGES: readonly (readonly [release: string, change: Change])[] = [
  ['0.10.0', {}],
  ['0.11.0', {}],
  ['0.12.0', { reasoning: 'either', outputText: true }],
  ['0.13.0', { emptyToolCalls: false, developerTools: true }],
  ['0.14.1', { reasoningEffort: 'always' }],
  ['0.15.1', { responsesApi: { continued: true } }],
  [
    '0.16.0',
    {
      reasoning: 'reasoning',
      reasoningEffort: 'passed',
      kwargsReplaceFields: false,
      responsesApi: { addsSpecialTokens: true },
    },
  ],
  ['0.17.1', { messagesApi: { blocks: true, dropped: 'none' } }],
  ['0.18.1', { truncationSide: true, messagesApi: { billingStripped: true } }],
  ['0.19.1', { messagesApi: { dropped: 'user-without-content' } }],
  ['0.20.2', { toolParts: 'texts-joined', task: true, messagesApi: { kwargs: true } }],
  [
    '0.21.0',
    {
      toolParts: 'joined-if-all-text',
      deferLoading: true,
      messagesApi: { deferLoading: true },
    },
  ],
  [
    '0.22.1',
    {
      contentLoops: 'named',
      reasoning: 'renamed',
      reasoningEffort: 'switches-thinking',
      responsesApi: { kwargs: true, merged: true },
    },
  ],
  [
    '0.23.0',
    {
      toolArguments: 'null-emptied',
      developerToSystem: true,
      messagesApi: { inlineSystem: 'merged', effort: true },
    },
  ],
  ['0.24.0', { strict: true, messagesApi: { inlineSystem: 'merged-if-needed', strict: true } }],
  ['0.26.0', { partExtras: true, responsesApi: { shortFormMerged: true } }],
  ['0.28.0', { toolExtras: false, responsesApi: { tools: true } }],
  ['0.30.0', { contentLoops: 'macros', toolArguments: 'emptied' }],
  ['0.32.0', { billingStripped: true, messagesApi: { thinking: true } }],
]

interface Release {
  readonly parts: readonly number[]
  readonly rules: EngineRules
}

const RELEASES: readonly Release[] = releases()

function releases(): Release[] {
  const all: Release[] = []
  let rules = FIRST
  for (const [release, change] of CHANGES) {
    rules = {
      ...rules,
      ...change,
      messagesApi: { ...rules.messagesApi, ...change.messagesApi },
      responsesApi: { ...rules.responsesApi, ...change.responsesApi },
    }
    all.push({ parts: partsOf(release)!, rules })
  }
  return all
}

/** The rules of every release known, the newest first: what an engine may do that does not say which it is. */
export const ALL_RULES: readonly EngineRules[] = RELEASES.map(({ rules }) => rules).reverse()

/** The rules of the newest release known. */
export const NEWEST_RULES: EngineRules = ALL_RULES[0]!

/**
 * What an engine of that release may do, the likeliest first: one set of rules for a release whose sources were read and
 * for those after the last of them, two for one between two of them, all for what is no release or older than all.
 *
 * @param version as `/version` says it, such as `0.10.1`, `0.23.0rc2`, `0.32.1.dev4+g1234`; undefined when unknown
 */
export function rulesOf(version: string | undefined): readonly EngineRules[] {
  const parts = partsOf(version ?? '')
  if (parts === undefined) return ALL_RULES
  const isEarly = /^\d+\.\d+\.\d+\.?(?:a|b|rc|dev)/.test(version!)
  const at = RELEASES.findLastIndex((release) => {
    const order = compare(release.parts, parts)
    return order < 0 || (order === 0 && !isEarly)
  })
  if (at < 0) return ALL_RULES
  const { rules, parts: named } = RELEASES[at]!
  const next = RELEASES[at + 1]
  if (next === undefined || (compare(named, parts) === 0 && !isEarly)) return [rules]
  return [rules, next.rules]
}

/** The rules that any of the engines of a pool may follow, each once. */
export function rulesOfAll(versions: readonly (string | undefined)[]): readonly EngineRules[] {
  if (versions.length === 0) return ALL_RULES
  const all = new Set(versions.flatMap((version) => rulesOf(version)))
  return ALL_RULES.filter((rules) => all.has(rules))
}

/** Major, minor and patch; undefined when the text does not begin with three numbers. */
function partsOf(version: string): readonly number[] | undefined {
  const match = /^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})/.exec(version)
  return match === null ? undefined : match.slice(1).map(Number)
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return a[i]! - b[i]!
  return 0
}
