import { item } from './access.ts'
import { argumentList, expression, filterExpression, invoke } from './expressions.ts'
import { Frame } from './frame.ts'
import { type Names, targetNames } from './names.ts'
import { Output } from './output.ts'
import { printed } from './prints.ts'
import { type Node, nameOf } from './tree.ts'
import {
  Callable,
  isTruthy,
  iterate,
  LoopState,
  Namespace,
  TemplateError,
  type Value,
} from './values.ts'
import type { Evaluate } from './variables.ts'

/** Calls of macros within one another; Python ends at about 200. */
const MAX_CALLS = 100

/** How a block ended: by `{% break %}`, by `{% continue %}` or at its end. */
type Ending = 'break' | 'continue' | undefined

/** Runs a statement or a block; throws a `TemplateError` when the template refuses, or does what is not followed. */
export type Execute = (frame: Frame, output: Output) => Ending

/**
 * Turns statements into functions that do what Jinja2 does in Python: scopes of loops, macros and blocks, undefined values,
 * and what Python's types do. What cannot be followed exactly is refused with a `TemplateError`.
 */
export function block(body: readonly Node[], names: Names): Execute {
  const statements = body.map((node) => statement(node, names))
  return (frame, output) => {
    for (let i = 0; i < statements.length; i++) {
      const ending = statements[i]!(frame, output)
      if (ending !== undefined) return ending
    }
    return undefined
  }
}

/** A block from which no loop around it can be left, and whose text is wanted. */
export function textBlock(body: readonly Node[], names: Names): (frame: Frame) => Output {
  const all = block(body, names)
  return (frame) => {
    const output = new Output(frame.run.maxChars)
    if (all(frame, output) !== undefined) {
      throw new TemplateError('a loop is left from where there is none')
    }
    return output
  }
}

function statement(node: Node, names: Names): Execute {
  switch (node.type) {
    case 'If':
      return conditional(node, names)
    case 'For':
      return loop(node, names)
    case 'Break':
      return counted('break')
    case 'Continue':
      return counted('continue')
    case 'Comment':
      return counted(undefined)
    case 'Set':
      return setting(node, names)
    case 'Macro': {
      const made = macro(node.args, node.body, names)
      const slot = names.slotOf(nameOf(node.name))
      return (frame) => {
        frame.run.step()
        frame.set(slot, made(frame))
        return undefined
      }
    }
    case 'CallStatement':
      return callWithBlock(node, names)
    case 'FilterStatement':
      return filtered(node, names)
    default: {
      const print = printed(node, names)
      return (frame, output) => {
        frame.run.step()
        print(frame, output)
        return undefined
      }
    }
  }
}

function counted(ending: Ending): Execute {
  return (frame) => {
    frame.run.step()
    return ending
  }
}

function conditional(node: Node, names: Names): Execute {
  const condition = expression(node.test, names)
  const then = block(node.body, names)
  const otherwise = block(node.alternate, names)
  return (frame, output) => {
    frame.run.step()
    return isTruthy(condition(frame)) ? then(frame, output) : otherwise(frame, output)
  }
}

function loop(node: Node, names: Names): Execute {
  const isFiltered = node.iterable.type === 'SelectExpression'
  const list = expression(isFiltered ? node.iterable.lhs : node.iterable, names)
  const test = isFiltered ? loopTest(node, names) : undefined
  const depth = names.depth + 1
  const inner = names.inner(node.body, ['loop', ...targetNames(node.loopvar)], depth)
  const loopSlot = inner.slotOf('loop')
  const assign = assignment(node.loopvar, inner)
  const body = block(node.body, inner)
  const elseNames = names.inner(node.defaultBlock)
  const otherwise = block(node.defaultBlock, elseNames)
  return (frame, output) => {
    const { run } = frame
    run.step()
    const all = iterate(list(frame))
    const items = test === undefined ? all : all.filter((one) => test(frame, one))
    const state = new LoopState(items, depth)
    let completed = false
    for (let at = 0; at < items.length; at++) {
      state.at = at
      const within = new Frame(run, inner.count, frame)
      within.set(loopSlot, state)
      assign(within, items[at])
      const ending = body(within, output)
      if (ending === 'break') break
      completed ||= ending === undefined
    }
    // Jinja2 takes the other block too when no iteration came to its end.
    return completed ? undefined : otherwise(new Frame(run, elseNames.count, frame), output)
  }
}

/** The condition behind a loop's list, of one item. */
function loopTest(node: Node, names: Names): (frame: Frame, one: Value) => boolean {
  const inner = names.inner([], targetNames(node.loopvar))
  const assign = assignment(node.loopvar, inner)
  const test = expression(node.iterable.test, inner)
  return (frame, one) => {
    const within = new Frame(frame.run, inner.count, frame)
    assign(within, one)
    return isTruthy(test(within))
  }
}

function setting(node: Node, names: Names): Execute {
  const assign = assignment(node.assignee, names)
  const value = node.value === null ? setBlock(node, names) : expression(node.value as Node, names)
  return (frame) => {
    frame.run.step()
    assign(frame, value(frame))
    return undefined
  }
}

function setBlock(node: Node, names: Names): Evaluate {
  const inner = names.inner(node.body)
  const body = textBlock(node.body, inner)
  return (frame) => body(new Frame(frame.run, inner.count, frame)).text
}

function assignment(target: Node, names: Names): (frame: Frame, value: Value) => void {
  switch (target.type) {
    case 'Identifier': {
      const slot = names.slotOf(nameOf(target))
      return (frame, value) => frame.set(slot, value)
    }
    case 'TupleLiteral': {
      const targets = (target.value as readonly Node[]).map((one) => assignment(one, names))
      return (frame, value) => {
        const items = iterate(value)
        if (items.length !== targets.length) throw new TemplateError('too many or too few values')
        for (let i = 0; i < targets.length; i++) targets[i]!(frame, items[i])
      }
    }
    case 'MemberExpression': {
      const object = expression(target.object, names)
      const name = nameOf(target.property)
      return (frame, value) => {
        const namespace = object(frame)
        if (!(namespace instanceof Namespace) || target.computed) {
          throw new TemplateError('an attribute of what is no namespace is set')
        }
        namespace.fields.set(name, value)
      }
    }
    default:
      return () => {
        throw new TemplateError('something is set that is no variable')
      }
  }
}

/** A macro sees the variables of where it stands, not of where it is called. */
function macro(
  parameters: readonly Node[],
  body: readonly Node[],
  names: Names,
): (frame: Frame) => Callable {
  const given = parameters.map((one) => nameOf(one.type === 'Identifier' ? one : one.key))
  const inner = names.inner(body, ['caller', 'kwargs', 'varargs', ...given], 0)
  const own = ['caller', 'kwargs', 'varargs'].map((name) => inner.slotOf(name))
  const slots = given.map((name) => inner.slotOf(name))
  const defaults = parameters.map((one) =>
    one.type === 'Identifier' ? undefined : expression(one.value as Node, inner),
  )
  const text = textBlock(body, inner)
  return (around) =>
    new Callable(({ positional, named }) => {
      const { run } = around
      const frame = new Frame(run, inner.count, around)
      for (const slot of own) frame.set(slot, undefined)
      const rest = new Map(named)
      for (const [i, name] of given.entries()) {
        const isGiven = i < positional.length
        if (isGiven && rest.has(name)) throw new TemplateError('an argument is given twice')
        const value = isGiven ? positional[i] : rest.get(name)
        rest.delete(name)
        frame.set(slots[i]!, value)
        const otherwise = defaults[i]
        if (value === undefined && !isGiven && otherwise !== undefined) {
          frame.set(slots[i]!, otherwise(frame))
        }
      }
      if (rest.has('caller')) frame.set(own[0]!, rest.get('caller'))
      rest.delete('caller')
      if (positional.length > given.length || rest.size > 0) {
        throw new TemplateError('a macro is given more than it takes')
      }
      if (++run.calls > MAX_CALLS) throw new TemplateError('macros call one another too deeply')
      const output = text(frame)
      run.calls--
      return output.text
    })
}

function callWithBlock(node: Node, names: Names): Execute {
  const args = argumentList(node.call.args, names)
  const callee = expression(node.call.callee, names)
  const made = macro(node.callerArgs ?? [], node.body, names)
  return (frame, output) => {
    frame.run.step()
    const given = args(frame)
    const named = new Map(given.named).set('caller', made(frame))
    output.print(invoke(callee(frame), { ...given, named }))
    return undefined
  }
}

function filtered(node: Node, names: Names): Execute {
  const filter = filterExpression(node.filter, names)
  const inner = names.inner(node.body)
  const body = textBlock(node.body, inner)
  return (frame, output) => {
    frame.run.step()
    const apply = filter.named()
    const args = filter.args(frame)
    const text = body(new Frame(frame.run, inner.count, frame)).text
    output.print(apply(text, args, item))
    return undefined
  }
}
