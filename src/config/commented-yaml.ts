import { isCollection, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import type { Path } from './problem.ts'

/** One line of YAML, and what is said of the value that begins in it. */
export interface CommentedLine {
  readonly text: string
  readonly comment: string | undefined
}

/** Lines that are longer have their comment where they end, so that it does not drive the others to the right. */
const MAX_ALIGNED = 60

/**
 * The lines of a YAML text, with a comment for each that has a value.
 *
 * @param text as `stringify` writes it, without flow collections that hold anything and without folded lines
 * @param commentOf what to say of the value at a path; undefined for nothing
 */
export function commentedLines(
  text: string,
  commentOf: (path: Path) => string | undefined,
): readonly CommentedLine[] {
  const lines = new LineCounter()
  const comments = new Map<number, string | undefined>()
  const visit = (node: unknown, keyOffset: number, path: Path): void => {
    if (isMap(node) && node.items.length > 0) {
      for (const { key, value } of node.items) {
        if (isScalar(key)) visit(value, key.range![0], [...path, String(key.value)])
      }
    } else if (isSeq(node) && node.items.length > 0) {
      for (const [index, item] of node.items.entries()) {
        const start = isScalar(item) || isCollection(item) ? item.range![0] : keyOffset
        visit(item, start, [...path, index])
      }
    } else comments.set(lines.linePos(keyOffset).line, commentOf(path))
  }
  visit(parseDocument(text, { lineCounter: lines }).contents, 0, [])
  return text
    .replace(/\n$/, '')
    .split('\n')
    .map((line, index) => ({ text: line, comment: comments.get(index + 1) }))
}

/**
 * The lines as a text, with the comments of each section one below the other.
 *
 * @param paint puts a comment into colour
 */
export function commentedText(
  lines: readonly CommentedLine[],
  paint: (comment: string) => string = (comment) => comment,
): string {
  let width = 0
  return lines
    .map(({ text, comment }, index) => {
      if (index === 0 || beginsSection(text)) width = widthOf(lines, index)
      return comment === undefined
        ? `${text}\n`
        : `${text.padEnd(width)}  ${paint(`# ${comment}`)}\n`
    })
    .join('')
}

/** Columns that the lines of the section take that begins at `start`. */
function widthOf(lines: readonly CommentedLine[], start: number): number {
  const length = lines.slice(start + 1).findIndex(({ text }) => beginsSection(text))
  const section = lines.slice(start, length < 0 ? undefined : start + 1 + length)
  const widths = section.flatMap(({ text, comment }) => (comment === undefined ? [] : text.length))
  return Math.max(0, ...widths.filter((width) => width <= MAX_ALIGNED))
}

function beginsSection(line: string): boolean {
  return /^\S/.test(line)
}
