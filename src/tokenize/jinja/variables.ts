import type { Frame } from './frame.ts'
import type { Names } from './names.ts'
import { NOTHING, type Value } from './values.ts'

/** What an expression comes to in a block; throws a `TemplateError` for what cannot be followed. */
export type Evaluate = (frame: Frame) => Value

export function constant(value: Value): Evaluate {
  return (frame) => {
    frame.run.step()
    return value
  }
}

/** A name's value in the innermost block that has set it, else what the chat gives. */
export function variable(name: string, names: Names): Evaluate {
  const [first, ...others] = names.placesOf(name)
  const free = names.freeSlotOf(name)
  if (first === undefined) {
    return ({ run }) => {
      run.step()
      return run.variables[free]
    }
  }
  const { blocks, slot } = first
  return (frame) => {
    frame.run.step()
    let value = (blocks === 0 ? frame : frame.around(blocks)).get(slot)
    for (let i = 0; value === NOTHING && i < others.length; i++) {
      value = frame.around(others[i]!.blocks).get(others[i]!.slot)
    }
    return value === NOTHING ? frame.run.variables[free] : value
  }
}
