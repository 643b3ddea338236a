import { expression } from './expressions.ts'
import type { Frame } from './frame.ts'
import type { Names } from './names.ts'
import { operate } from './operators.ts'
import type { Output } from './output.ts'
import { toText } from './printing.ts'
import type { Node } from './tree.ts'
import { Markup, type Value } from './values.ts'

/** Prints what an expression comes to; throws a `TemplateError` for what cannot be followed. */
export type Print = (frame: Frame, output: Output) => void

/**
 * Texts that are joined only to be printed are printed one after the other: what has been made of one of them before, such as
 * its ids, is known by the text itself.
 */
export function printed(node: Node, names: Names): Print {
  if (!isJoin(node)) {
    const value = expression(node, names)
    return (frame, output) => output.print(value(frame))
  }
  const operands: Node[] = []
  const operators: string[] = []
  let left = node
  for (; isJoin(left); left = left.left) {
    operands.unshift(left.right)
    operators.unshift(left.operator.value)
  }
  const first = expression(left, names)
  const others = operands.map((operand) => expression(operand, names))
  return (frame, output) => {
    let value = first(frame)
    let isText = typeof value === 'string'
    /** Texts before `value`. */
    let texts: string[] = []
    for (let i = 0; i < others.length; i++) {
      frame.run.step()
      const next = others[i]!(frame)
      const operator = operators[i]!
      if (isText && (typeof next === 'string' || (operator === '~' && !(next instanceof Markup)))) {
        texts.push(value as string)
        value = typeof next === 'string' ? next : toText(next)
        continue
      }
      const before: Value = isText ? texts.join('') + (value as string) : value
      value = frame.run.bounded(operate(operator, before, next))
      isText = typeof value === 'string'
      texts = []
    }
    for (const text of texts) output.print(text)
    output.print(value)
  }
}

function isJoin(node: Node): boolean {
  return node.type === 'BinaryExpression' && ['+', '~'].includes(node.operator.value)
}
