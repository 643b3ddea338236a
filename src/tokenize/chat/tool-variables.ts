import { type Doubt, doubt } from '../doubt.ts'
import type { EngineRules } from './engine-rules.ts'
import { type Fields, isAbsent, isFields, without } from './fields.ts'
import { parsePythonJson } from './python-json.ts'
import { refused, Unrenderable } from './unrenderable.ts'

const FUNCTION_FIELDS = ['name', 'description', 'parameters']

/**
 * A tool with the fields that the engine's own model of it has, in that order, those that it does not know after them
 * (`ChatCompletionToolsParam` and `FunctionDefinition` of vLLM).
 */
export function toolVariable(tool: unknown, rules: EngineRules): Fields | Unrenderable {
  if (!isFields(tool) || !isFields(tool.function)) return refused('a tool has no function')
  const definition = tool.function
  const { name, description, parameters, strict } = definition
  const deferred = definition.defer_loading ?? tool.defer_loading
  const names = [...FUNCTION_FIELDS]
  if (rules.strict) names.push('strict')
  if (rules.deferLoading) names.push('defer_loading')
  const ownDeferral = rules.deferLoading ? tool.defer_loading : undefined
  return {
    type: 'function',
    function: {
      name,
      description: description ?? null,
      parameters: parameters ?? null,
      ...(rules.strict && !isAbsent(strict) && { strict }),
      ...(rules.deferLoading && !isAbsent(deferred) && { defer_loading: deferred }),
      ...(rules.toolExtras && without(definition, names)),
    },
    ...(!isAbsent(ownDeferral) && { defer_loading: ownDeferral }),
    ...(rules.toolExtras &&
      without(tool, ['type', 'function', ...(rules.deferLoading ? ['defer_loading'] : [])])),
  }
}

/** A tool of a message, its fields in the order of the client library's type that checks it. */
export function checkedTool(tool: unknown): unknown {
  if (!isFields(tool) || !isFields(tool.function)) return tool
  const definition = tool.function
  const ordered = ['name', 'description', 'parameters', 'strict'].filter(
    (name) => name in definition,
  )
  return {
    function: {
      ...Object.fromEntries(ordered.map((name) => [name, definition[name]])),
      ...without(definition, ordered),
    },
    ...without(tool, ['function']),
  }
}

/** Fields of tools in which releases of the engine differ. */
export function toolFieldsOf(tools: readonly unknown[]): {
  readonly strict: boolean
  readonly deferLoading: boolean
  readonly extras: boolean
} {
  const found = { strict: false, deferLoading: false, extras: false }
  for (const tool of tools) {
    if (!isFields(tool) || !isFields(tool.function)) continue
    for (const name of Object.keys(tool.function)) {
      if (name === 'strict') found.strict = true
      else if (name === 'defer_loading') found.deferLoading = true
      else if (!FUNCTION_FIELDS.includes(name)) found.extras = true
    }
    for (const name of Object.keys(tool)) {
      if (name === 'defer_loading') found.deferLoading = true
      else if (name !== 'type' && name !== 'function') found.extras = true
    }
  }
  return found
}

/** A call as a template gets it, with what makes it uncertain. */
export interface ToolCallVariable {
  readonly call: Fields
  readonly doubt: Doubt | undefined
}

/**
 * A tool call of an assistant's message, its arguments parsed, its fields in the order of the client library's type that
 * checks them.
 *
 * @param isChecked false where the engine has made the call itself: then the fields stand as they are
 */
export function toolCallVariable(
  call: unknown,
  rules: EngineRules,
  isChecked: boolean,
): ToolCallVariable | Unrenderable {
  if (!isFields(call) || !isFields(call.function)) return refused('a tool call has no function')
  const parsed = argumentsOf(call.function.arguments, rules)
  if (parsed instanceof Unrenderable) return parsed
  const { function: definition, ...rest } = call
  if (!isChecked) {
    const made = { ...definition, arguments: parsed.value }
    return { call: { ...call, function: made }, doubt: parsed.doubt }
  }
  return {
    call: {
      ...('id' in rest && { id: rest.id }),
      function: {
        arguments: parsed.value,
        name: definition.name,
        ...without(definition, ['arguments', 'name']),
      },
      type: rest.type ?? 'function',
      ...without(rest, ['id', 'type']),
    },
    doubt: parsed.doubt,
  }
}

interface Arguments {
  readonly value: unknown
  readonly doubt: Doubt | undefined
}

/** The engine parses the arguments, which come as JSON text, and the template prints them again. */
function argumentsOf(text: unknown, rules: EngineRules): Arguments | Unrenderable {
  if (text === '' || isAbsent(text)) return { value: {}, doubt: undefined }
  if (typeof text !== 'string') return { value: text, doubt: undefined }
  let value: unknown
  try {
    value = parsePythonJson(text)
  } catch {
    if (/NaN|Infinity/.test(text)) {
      // Python's parser takes these words for numbers.
      const why = doubt('tool-arguments', 'the arguments of a tool call have numbers beyond JSON')
      return { value: {}, doubt: why }
    }
    if (rules.toolArguments !== 'emptied') {
      return refused('the arguments of a tool call are not JSON')
    }
    return { value: {}, doubt: undefined }
  }
  const isEmptied =
    rules.toolArguments === 'emptied'
      ? !isFields(value) && !(value instanceof Map)
      : rules.toolArguments === 'null-emptied' && value === null
  return { value: isEmptied ? {} : value, doubt: undefined }
}

/** True when releases of the engine treat the arguments differently. */
export function hasOddArguments(call: unknown): boolean {
  if (!isFields(call) || !isFields(call.function)) return false
  const text = call.function.arguments
  if (typeof text !== 'string' || text === '') return false
  return !text.trimStart().startsWith('{')
}
