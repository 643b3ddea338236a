import { attribute, isItemName, item, slice } from './access.ts'
import { type Filter, filterNamed } from './filters.ts'
import type { Frame } from './frame.ts'
import type { Names } from './names.ts'
import { negate, operate } from './operators.ts'
import { holds, testNamed } from './tests.ts'
import { type Node, nameOf } from './tree.ts'
import {
  type Arguments,
  Callable,
  isEqual,
  isList,
  isTruthy,
  iterate,
  PyFloat,
  TemplateError,
  tupleOf,
  type Value,
} from './values.ts'
import { constant, type Evaluate, variable } from './variables.ts'

/** Turns an expression into functions, once for each template: to walk its tree again and again takes several times as long. */
export function expression(node: Node, names: Names): Evaluate {
  switch (node.type) {
    case 'StringLiteral':
    case 'IntegerLiteral':
      return constant(node.value as Value)
    case 'FloatLiteral':
      return (frame) => {
        frame.run.step()
        return new PyFloat(node.value as number)
      }
    case 'Identifier':
      return variable(nameOf(node), names)
    case 'ArrayLiteral':
      return list(node, names)
    case 'TupleLiteral': {
      const items = list(node, names)
      return (frame) => tupleOf(...(items(frame) as readonly Value[]))
    }
    case 'ObjectLiteral':
      return dict(node.value as ReadonlyMap<Node, Node>, names)
    case 'MemberExpression':
      return member(node, names)
    case 'CallExpression':
      return call(node, names)
    case 'FilterExpression': {
      const operand = expression(node.operand, names)
      const filter = filterExpression(node.filter, names)
      return (frame) => {
        frame.run.step()
        const value = operand(frame)
        return frame.run.bounded(filter.named()(value, filter.args(frame), item))
      }
    }
    case 'TestExpression':
      return test(node, names)
    case 'BinaryExpression':
      return binary(node, names)
    case 'UnaryExpression':
      return unary(node, names)
    case 'Ternary': {
      const condition = expression(node.condition, names)
      const then = expression(node.trueExpr, names)
      const otherwise = expression(node.falseExpr, names)
      return (frame) => {
        frame.run.step()
        return isTruthy(condition(frame)) ? then(frame) : otherwise(frame)
      }
    }
    case 'SelectExpression': {
      const condition = expression(node.test, names)
      const then = expression(node.lhs, names)
      return (frame) => {
        frame.run.step()
        return isTruthy(condition(frame)) ? then(frame) : undefined
      }
    }
    default:
      return () => {
        throw new TemplateError(`${node.type} is not followed`)
      }
  }
}

function list(node: Node, names: Names): Evaluate {
  const items = (node.value as readonly Node[]).map((one) => expression(one, names))
  return (frame) => {
    frame.run.step()
    return items.map((one) => one(frame))
  }
}

function dict(pairs: ReadonlyMap<Node, Node>, names: Names): Evaluate {
  const items = Array.from(pairs, ([key, value]) => ({
    key: expression(key, names),
    value: expression(value, names),
  }))
  return (frame) => {
    frame.run.step()
    const made = new Map<Value, Value>()
    for (const { key, value } of items) {
      const name = key(frame)
      if (isList(name) || name instanceof Map) throw new TemplateError('a list is used as a key')
      made.set(name, value(frame))
    }
    return made
  }
}

function member(node: Node, names: Names): Evaluate {
  const object = expression(node.object, names)
  const { property } = node
  if (node.computed) return property.type === 'SliceExpression' ? part() : computed()
  if (property.type !== 'Identifier') {
    return (frame) => {
      frame.run.step()
      return item(object(frame), property.value as number)
    }
  }
  const name = nameOf(property)
  const isItem = isItemName(name)
  return (frame) => {
    frame.run.step()
    const value = object(frame)
    return isItem && value instanceof Map ? value.get(name) : attribute(value, name)
  }

  function computed(): Evaluate {
    const key = expression(property, names)
    return (frame) => {
      frame.run.step()
      const value = object(frame)
      return item(value, key(frame))
    }
  }

  function part(): Evaluate {
    const bounds = [property.start, property.stop, property.step].map((bound) =>
      bound === undefined ? undefined : expression(bound, names),
    )
    return (frame) => {
      frame.run.step()
      const value = object(frame)
      const [from, to, step] = bounds.map((bound) => bound?.(frame))
      return slice(value, from, to, step)
    }
  }
}

function call(node: Node, names: Names): Evaluate {
  const callee = expression(node.callee, names)
  const args = argumentList(node.args, names)
  return (frame) => {
    frame.run.step()
    return frame.run.bounded(invoke(callee(frame), args(frame)))
  }
}

function test(node: Node, names: Names): Evaluate {
  const operand = expression(node.operand, names)
  const named = lazily(() => testNamed(nameOf(node.test)))
  const { negate: isNegated } = node
  return (frame) => {
    frame.run.step()
    return holds(named(), operand(frame), NO_VALUES) !== isNegated
  }
}

function binary(node: Node, names: Names): Evaluate {
  const left = expression(node.left, names)
  const right = expression(node.right, names)
  const operator = node.operator.value
  switch (operator) {
    case 'and':
      return (frame) => {
        frame.run.step()
        const value = left(frame)
        return isTruthy(value) ? right(frame) : value
      }
    case 'or':
      return (frame) => {
        frame.run.step()
        const value = left(frame)
        return isTruthy(value) ? value : right(frame)
      }
    case '==':
      return (frame) => {
        frame.run.step()
        return isEqual(left(frame), right(frame))
      }
    default:
      return (frame) => {
        frame.run.step()
        return frame.run.bounded(operate(operator, left(frame), right(frame)))
      }
  }
}

function unary(node: Node, names: Names): Evaluate {
  const argument = expression(node.argument, names)
  const operator = node.operator.value
  return (frame) => {
    frame.run.step()
    const value = argument(frame)
    if (operator === 'not') return !isTruthy(value)
    const negative = negate(value)
    return operator === '-' ? negative : negate(negative)
  }
}

/** A filter that is named in a template, and what it is given there. */
export interface FilterExpression {
  /** @throws {TemplateError} when there is none of that name */
  named(): Filter
  args(frame: Frame): Arguments
}

export function filterExpression(node: Node, names: Names): FilterExpression {
  const name = node.type === 'Identifier' ? node : node.callee
  return {
    named: lazily(() => {
      if (name.type !== 'Identifier') throw new TemplateError('a filter is no name')
      return filterNamed(nameOf(name))
    }),
    args: node.type === 'Identifier' ? () => NO_ARGUMENTS : argumentList(node.args, names),
  }
}

/** Arguments as a call gets them. */
export function argumentList(nodes: readonly Node[], names: Names): (frame: Frame) => Arguments {
  if (nodes.some(({ type }) => SPECIAL_ARGUMENTS.has(type))) return specialArguments(nodes, names)
  const items = nodes.map((node) => expression(node, names))
  return (frame) => ({ positional: items.map((one) => one(frame)), named: NO_NAMED })
}

const SPECIAL_ARGUMENTS = new Set([
  'KeywordArgumentExpression',
  'SpreadExpression',
  'KeywordSpreadExpression',
])

function specialArguments(nodes: readonly Node[], names: Names): (frame: Frame) => Arguments {
  const items = nodes.map((node) => {
    const isKeyword = node.type === 'KeywordArgumentExpression'
    const inner = isKeyword ? (node.value as Node) : node.argument
    const value = expression(SPECIAL_ARGUMENTS.has(node.type) ? inner : node, names)
    return { type: node.type, name: isKeyword ? nameOf(node.key) : '', value }
  })
  return (frame) => {
    const positional: Value[] = []
    const named = new Map<string, Value>()
    for (const { type, name, value } of items) {
      if (type === 'KeywordArgumentExpression') named.set(name, value(frame))
      else if (type === 'SpreadExpression') positional.push(...iterate(value(frame)))
      else if (type === 'KeywordSpreadExpression') {
        const more = value(frame)
        if (!(more instanceof Map)) throw new TemplateError('** is given what is no mapping')
        for (const [key, one] of more) named.set(String(key), one)
      } else positional.push(value(frame))
    }
    return { positional, named }
  }
}

export function invoke(callee: Value, args: Arguments): Value {
  if (!(callee instanceof Callable)) throw new TemplateError('what cannot be called is called')
  return callee.call(args)
}

const NO_VALUES: readonly Value[] = []
const NO_NAMED: ReadonlyMap<string, Value> = new Map()
const NO_ARGUMENTS: Arguments = { positional: NO_VALUES, named: NO_NAMED }

/** A template may name what there is not, as long as it does not come to it. */
function lazily<T>(find: () => T): () => T {
  let found: T | undefined
  return () => (found ??= find())
}
