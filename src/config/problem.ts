import { SchedulerError } from '../framework/errors.ts'

/** Where a value stands in a document: keys and positions from the root. */
export type Path = readonly (string | number)[]

/** A position in a text; both count from 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** Something wrong with, or without effect in, a configuration. */
export interface Problem extends Place {
  readonly severity: 'error' | 'warning'
  readonly file: string
  /** Such as `schedulingProfiles[0].plugins[1].weight`; empty for the document as a whole. */
  readonly path: string
  readonly message: string
}

/** One problem as one line: `file:line:column  path: message`. */
export function problemLine({ file, line, column, path, message }: Problem): string {
  return `${file}:${line}:${column}  ${path === '' ? '' : `${path}: `}${message}`
}

/** A path as people write it; keys that are no plain words are quoted. */
export function pathText(path: Path): string {
  let text = ''
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`
    else if (!/^[\w-]+$/.test(part)) text += `[${JSON.stringify(part)}]`
    else text += text === '' ? part : `.${part}`
  }
  return text
}

/** A value as part of a message, at most 60 characters. */
export function valueText(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value))
  return text.length > 60 ? `${text.slice(0, 59)}…` : text
}

/** The problems found so far in one file. */
export class ProblemList {
  readonly #file: string
  readonly #place: (path: Path, part: 'key' | 'value') => Place
  readonly #strict: boolean
  readonly #problems: Problem[] = []
  /** Paths of what cannot work whether or not warnings count as errors. */
  readonly #broken: string[] = []

  /** @param strict turns warnings into errors */
  constructor(file: string, place: (path: Path, part: 'key' | 'value') => Place, strict: boolean) {
    this.#file = file
    this.#place = place
    this.#strict = strict
  }

  error(path: Path, message: string, part: 'key' | 'value' = 'value'): void {
    this.#broken.push(pathText(path))
    this.#add('error', this.#place(path, part), path, message)
  }

  warn(path: Path, message: string, part: 'key' | 'value' = 'value'): void {
    this.#add(this.#strict ? 'error' : 'warning', this.#place(path, part), path, message)
  }

  /** An error of the text itself, which belongs to no value. */
  fault(place: Place, message: string): void {
    this.#add('error', place, [], message)
  }

  /** True when there is an error that is no strict warning. */
  get hasErrors(): boolean {
    return this.#broken.length > 0
  }

  /** True when there is such an error at the path or within. */
  isBroken(path: Path): boolean {
    const text = pathText(path)
    return this.#broken.some(
      (broken) =>
        broken === text || (broken.startsWith(text) && /^[.[]/.test(broken.slice(text.length))),
    )
  }

  line(path: Path): number {
    return this.#place(path, 'value').line
  }

  #add(severity: Problem['severity'], place: Place, path: Path, message: string): void {
    const { line, column } = place
    const problem = { severity, file: this.#file, line, column, path: pathText(path), message }
    this.#problems.push(problem)
  }

  /** All problems in the order of the file. */
  list(): readonly Problem[] {
    return this.#problems.toSorted((a, b) => a.line - b.line || a.column - b.column)
  }

  /** @throws {SchedulerError} CONFIG_INVALID when there is an error; `problemsOf` gives the list */
  throwIfAny(): void {
    const problems = this.list()
    const errors = problems.filter((problem) => problem.severity === 'error')
    if (errors.length === 0) return
    throw new SchedulerError('CONFIG_INVALID', errors.map(problemLine).join('\n'), {
      cause: problems,
    })
  }
}

/** The problems, warnings included, that a CONFIG_INVALID carries; empty for any other error. */
export function problemsOf(error: unknown): readonly Problem[] {
  const found = error instanceof SchedulerError && error.code === 'CONFIG_INVALID'
  return found && Array.isArray(error.cause) ? (error.cause as readonly Problem[]) : []
}
