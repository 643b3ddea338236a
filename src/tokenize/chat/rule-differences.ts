import type { ChatTemplate } from './chat-template.ts'
import { hasBillingHeader, hasPartExtras } from './content-parts.ts'
import type { EngineRules } from './engine-rules.ts'
import { type Fields, isAbsent, isFields } from './fields.ts'
import { hasOddArguments, toolFieldsOf } from './tool-variables.ts'

/**
 * Tells engines apart that could render one chat differently: rules that give the same key give the same text. A plain chat
 * has one key for all releases.
 *
 * @param body a chat completion's
 */
export function ruleKeys(template: ChatTemplate, body: Fields): (rules: EngineRules) => string {
  const withTools = Array.isArray(body.tools) && body.tools.length > 0
  const fields = [...touchedRules(template, body, withTools)]
  return (rules) => {
    const format = template.contentFormat(withTools, rules.contentLoops)
    return [format, ...fields.map((field) => String(rules[field]))].join()
  }
}

type RuleField = Exclude<keyof EngineRules, 'messagesApi' | 'responsesApi'>

/** The rules that this chat touches, the one of the content's format left out. */
function touchedRules(
  template: ChatTemplate,
  body: Fields,
  withTools: boolean,
): ReadonlySet<RuleField> {
  const touched = new Set<RuleField>()
  const kwargs = isFields(body.chat_template_kwargs) ? body.chat_template_kwargs : {}
  if (Object.keys(kwargs).length > 0) touched.add('kwargsReplaceFields')
  if (!isAbsent(body.reasoning_effort) || template.mentions('reasoning_effort', withTools)) {
    touched.add('reasoningEffort')
  }
  if (!isAbsent(body.truncate_prompt_tokens) && !isAbsent(body.truncation_side)) {
    touched.add('truncationSide')
  }
  if (withTools) {
    const found = toolFieldsOf(body.tools as readonly unknown[])
    if (found.strict) touched.add('strict')
    if (found.deferLoading) touched.add('deferLoading')
    if (found.strict || found.deferLoading || found.extras) touched.add('toolExtras')
  }
  if (!Array.isArray(body.messages)) return touched
  for (const message of body.messages as readonly unknown[]) {
    if (isFields(message)) touchMessage(message, touched)
  }
  return touched
}

function touchMessage(message: Fields, touched: Set<RuleField>): void {
  const { role, content } = message
  if (role === 'assistant') {
    if (!isAbsent(message.reasoning) || !isAbsent(message.reasoning_content)) {
      touched.add('reasoning')
    }
    const calls = Array.isArray(message.tool_calls) ? message.tool_calls : undefined
    if (calls?.length === 0) touched.add('emptyToolCalls')
    if (calls?.some(hasOddArguments)) touched.add('toolArguments')
  } else if (role === 'developer') {
    touched.add('developerToSystem')
    touched.add('developerTools')
  } else if (role === 'system') {
    const texts = Array.isArray(content)
      ? content.map((part) => (isFields(part) ? part.text : part))
      : [content]
    if (texts.some(hasBillingHeader)) touched.add('billingStripped')
  } else if (role === 'tool') touched.add('toolParts')
  if (typeof message.task === 'string') touched.add('task')
  if (!Array.isArray(content)) return
  for (const part of content as readonly unknown[]) {
    if (!isFields(part)) continue
    if (part.type === 'output_text') touched.add('outputText')
    if (hasPartExtras(part)) touched.add('partExtras')
  }
}
