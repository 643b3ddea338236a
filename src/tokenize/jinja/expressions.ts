import { attribute, item, slice } from './access.ts'
import type { Budget } from './budget.ts'
import { type Filter, filterNamed } from './filters.ts'
import { negate, operate } from './operators.ts'
import type { Scope } from './scope.ts'
import { holds, testNamed } from './tests.ts'
import { type Node, nameOf } from './tree.ts'
import {
  type Arguments,
  Callable,
  isList,
  isTruthy,
  iterate,
  PyFloat,
  TemplateError,
  tupleOf,
  type Value,
} from './values.ts'

/** Evaluates a template's expressions as Jinja2 does; every method throws a `TemplateError` for what it cannot follow. */
export class Expressions {
  readonly #budget: Budget

  constructor(budget: Budget) {
    this.#budget = budget
  }

  value(node: Node, scope: Scope): Value {
    this.#budget.step()
    switch (node.type) {
      case 'StringLiteral':
      case 'IntegerLiteral':
        return node.value as Value
      case 'FloatLiteral':
        return new PyFloat(node.value as number)
      case 'Identifier':
        return scope.get(nameOf(node))
      case 'ArrayLiteral':
        return (node.value as readonly Node[]).map((one) => this.value(one, scope))
      case 'TupleLiteral':
        return tupleOf(...(node.value as readonly Node[]).map((one) => this.value(one, scope)))
      case 'ObjectLiteral':
        return this.#dict(node.value as ReadonlyMap<Node, Node>, scope)
      case 'MemberExpression':
        return this.#member(node, scope)
      case 'CallExpression': {
        const callee = this.value(node.callee, scope)
        return this.#budget.bounded(this.invoke(callee, this.arguments(node.args, scope)))
      }
      case 'FilterExpression': {
        const operand = this.value(node.operand, scope)
        const [filter, args] = this.filter(node.filter, scope)
        return this.#budget.bounded(filter(operand, args, getPath))
      }
      case 'TestExpression': {
        const passed = holds(testNamed(nameOf(node.test)), this.value(node.operand, scope), [])
        return passed !== node.negate
      }
      case 'BinaryExpression':
        return this.#binary(node, scope)
      case 'UnaryExpression':
        return this.#unary(node.operator.value, this.value(node.argument, scope))
      case 'Ternary':
        return this.value(
          isTruthy(this.value(node.condition, scope)) ? node.trueExpr : node.falseExpr,
          scope,
        )
      case 'SelectExpression':
        return isTruthy(this.value(node.test, scope)) ? this.value(node.lhs, scope) : undefined
      default:
        throw new TemplateError(`${node.type} is not followed`)
    }
  }

  #dict(pairs: ReadonlyMap<Node, Node>, scope: Scope): Value {
    const dict = new Map<Value, Value>()
    for (const [key, value] of pairs) {
      const name = this.value(key, scope)
      if (isList(name) || name instanceof Map) throw new TemplateError('a list is used as a key')
      dict.set(name, this.value(value, scope))
    }
    return dict
  }

  #member(node: Node, scope: Scope): Value {
    const object = this.value(node.object, scope)
    const { property } = node
    if (!node.computed) {
      return property.type === 'Identifier'
        ? attribute(object, nameOf(property))
        : item(object, property.value as number)
    }
    if (property.type !== 'SliceExpression') return item(object, this.value(property, scope))
    const [from, to, step] = [property.start, property.stop, property.step].map((bound) =>
      bound === undefined ? undefined : this.value(bound, scope),
    )
    return slice(object, from, to, step)
  }

  #binary(node: Node, scope: Scope): Value {
    const left = this.value(node.left, scope)
    const operator = node.operator.value
    if (operator === 'and') return isTruthy(left) ? this.value(node.right, scope) : left
    if (operator === 'or') return isTruthy(left) ? left : this.value(node.right, scope)
    return this.#budget.bounded(operate(operator, left, this.value(node.right, scope)))
  }

  #unary(operator: string, value: Value): Value {
    if (operator === 'not') return !isTruthy(value)
    const negative = negate(value)
    return operator === '-' ? negative : negate(negative)
  }

  filter(node: Node, scope: Scope): readonly [Filter, Arguments] {
    if (node.type === 'Identifier') return [filterNamed(nameOf(node)), NO_ARGUMENTS]
    if (node.callee.type !== 'Identifier') throw new TemplateError('a filter is no name')
    return [filterNamed(nameOf(node.callee)), this.arguments(node.args, scope)]
  }

  arguments(nodes: readonly Node[], scope: Scope): Arguments {
    const positional: Value[] = []
    const named = new Map<string, Value>()
    for (const node of nodes) {
      switch (node.type) {
        case 'KeywordArgumentExpression':
          named.set(nameOf(node.key), this.value(node.value as Node, scope))
          break
        case 'SpreadExpression':
          positional.push(...iterate(this.value(node.argument, scope)))
          break
        case 'KeywordSpreadExpression': {
          const more = this.value(node.argument, scope)
          if (!(more instanceof Map)) throw new TemplateError('** is given what is no mapping')
          for (const [key, value] of more) named.set(String(key), value)
          break
        }
        default:
          positional.push(this.value(node, scope))
      }
    }
    return { positional, named }
  }

  invoke(callee: Value, args: Arguments): Value {
    if (!(callee instanceof Callable)) throw new TemplateError('what cannot be called is called')
    return callee.call(args)
  }
}

const NO_ARGUMENTS: Arguments = { positional: [], named: new Map() }

/** Reads an attribute's path for filters. */
export function getPath(value: Value, name: Value): Value {
  return item(value, name)
}
