import { Budget, type RenderLimits } from './budget.ts'
import { Expressions, getPath } from './expressions.ts'
import { toText } from './printing.ts'
import { Scope } from './scope.ts'
import { type Node, nameOf } from './tree.ts'
import {
  Callable,
  isTruthy,
  iterate,
  LoopState,
  Markup,
  Namespace,
  TemplateError,
  type Value,
} from './values.ts'

/** Calls of macros within one another; Python ends at about 200. */
const MAX_CALLS = 100

/** How a block ended: by `{% break %}`, by `{% continue %}` or at its end. */
type Ending = 'break' | 'continue' | undefined

/** A block's text as it grows. */
interface Output {
  text: string
}

/**
 * Evaluates a parsed template as Jinja2 does in Python: scopes of loops, macros and blocks, undefined values, and what
 * Python's types do. What it cannot follow exactly it refuses with a `TemplateError`.
 */
export class Interpreter {
  readonly #budget: Budget
  readonly #expressions: Expressions
  #calls = 0

  constructor(limits: RenderLimits) {
    this.#budget = new Budget(limits)
    this.#expressions = new Expressions(this.#budget)
  }

  /** @throws {TemplateError} when the template refuses, or would do what is not followed or costs too much */
  run(program: Node, scope: Scope): string {
    return this.#render(program.body, scope)
  }

  #render(body: readonly Node[], scope: Scope): string {
    const output = { text: '' }
    if (this.#block(body, scope, output) !== undefined) {
      throw new TemplateError('a loop is left from where there is none')
    }
    return output.text
  }

  #block(body: readonly Node[], scope: Scope, output: Output): Ending {
    for (const node of body) {
      const ending = this.#statement(node, scope, output)
      if (ending !== undefined) return ending
    }
    return undefined
  }

  #statement(node: Node, scope: Scope, output: Output): Ending {
    this.#budget.step()
    switch (node.type) {
      case 'If':
        return this.#block(
          isTruthy(this.#expressions.value(node.test, scope)) ? node.body : node.alternate,
          scope,
          output,
        )
      case 'For':
        return this.#loop(node, scope, output)
      case 'Break':
        return 'break'
      case 'Continue':
        return 'continue'
      case 'Set':
        this.#set(node, scope)
        return undefined
      case 'Macro':
        scope.set(nameOf(node.name), this.#macro(node.args, node.body, scope))
        return undefined
      case 'CallStatement':
        this.#print(this.#callWithBlock(node, scope), output)
        return undefined
      case 'FilterStatement': {
        const [filter, args] = this.#expressions.filter(node.filter, scope)
        this.#print(filter(this.#render(node.body, new Scope(scope)), args, getPath), output)
        return undefined
      }
      case 'Comment':
        return undefined
      default:
        this.#print(this.#expressions.value(node, scope), output)
        return undefined
    }
  }

  #print(value: Value, output: Output): void {
    output.text += value instanceof Markup ? value.text : toText(value)
    this.#budget.bounded(output.text)
  }

  #loop(node: Node, scope: Scope, output: Output): Ending {
    const isFiltered = node.iterable.type === 'SelectExpression'
    const { lhs, test } = isFiltered ? node.iterable : { lhs: node.iterable, test: undefined }
    let items = iterate(this.#expressions.value(lhs, scope))
    if (test !== undefined) {
      items = items.filter((one) => {
        const inner = new Scope(scope)
        this.#assign(node.loopvar, one, inner)
        return isTruthy(this.#expressions.value(test, inner))
      })
    }
    const loop = new LoopState(items, scope.depth + 1)
    let completed = false
    for (const [at, one] of items.entries()) {
      loop.at = at
      const inner = new Scope(scope, scope.depth + 1)
      inner.set('loop', loop)
      this.#assign(node.loopvar, one, inner)
      const ending = this.#block(node.body, inner, output)
      if (ending === 'break') break
      completed ||= ending === undefined
    }
    // Jinja2 takes the other block too when no iteration came to its end.
    if (completed) return undefined
    return this.#block(node.defaultBlock, new Scope(scope), output)
  }

  #set(node: Node, scope: Scope): void {
    if (node.value === null) {
      this.#assign(node.assignee, this.#render(node.body, new Scope(scope)), scope)
    } else this.#assign(node.assignee, this.#expressions.value(node.value as Node, scope), scope)
  }

  #assign(target: Node, value: Value, scope: Scope): void {
    switch (target.type) {
      case 'Identifier':
        scope.set(nameOf(target), value)
        return
      case 'TupleLiteral': {
        const targets = target.value as readonly Node[]
        const items = iterate(value)
        if (items.length !== targets.length) throw new TemplateError('too many or too few values')
        for (const [i, one] of targets.entries()) this.#assign(one, items[i], scope)
        return
      }
      case 'MemberExpression': {
        const object = this.#expressions.value(target.object, scope)
        if (!(object instanceof Namespace) || target.computed) {
          throw new TemplateError('an attribute of what is no namespace is set')
        }
        object.fields.set(nameOf(target.property), value)
        return
      }
      default:
        throw new TemplateError('something is set that is no variable')
    }
  }

  /** A macro sees the variables of where it stands, not of where it is called. */
  #macro(parameters: readonly Node[], body: readonly Node[], scope: Scope): Callable {
    const names = parameters.map((one) => nameOf(one.type === 'Identifier' ? one : one.key))
    return new Callable(({ positional, named }) => {
      const inner = new Scope(scope, 0)
      for (const name of ['caller', 'kwargs', 'varargs']) inner.set(name, undefined)
      const rest = new Map(named)
      for (const [i, name] of names.entries()) {
        const isGiven = i < positional.length
        if (isGiven && rest.has(name)) throw new TemplateError('an argument is given twice')
        const value = isGiven ? positional[i] : rest.get(name)
        rest.delete(name)
        inner.set(name, value)
        const parameter = parameters[i]!
        if (value === undefined && !isGiven && parameter.type !== 'Identifier') {
          inner.set(name, this.#expressions.value(parameter.value as Node, inner))
        }
      }
      if (rest.has('caller')) inner.set('caller', rest.get('caller'))
      rest.delete('caller')
      if (positional.length > names.length || rest.size > 0) {
        throw new TemplateError('a macro is given more than it takes')
      }
      if (++this.#calls > MAX_CALLS) throw new TemplateError('macros call one another too deeply')
      const text = this.#render(body, inner)
      this.#calls--
      return text
    })
  }

  #callWithBlock(node: Node, scope: Scope): Value {
    const args = this.#expressions.arguments(node.call.args, scope)
    const caller = this.#macro(node.callerArgs ?? [], node.body, scope)
    const named = new Map(args.named).set('caller', caller)
    return this.#expressions.invoke(this.#expressions.value(node.call.callee, scope), {
      ...args,
      named,
    })
  }
}
