import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { PyFloat } from '../../../src/tokenize/jinja/values.ts'

const ROOT = join(import.meta.dirname, '..', '..', '..')
const PYTHON = join(ROOT, '.cache', 'reference-1', 'bin', 'python')
const INSTALLED = join(ROOT, '.cache', 'reference-1', 'complete')

/** Whether the Python packages are there; says so when not. @throws in CI without them */
export function referenceAvailable(): boolean {
  if (existsSync(INSTALLED)) return true
  if (process.env.CI) throw new Error(`${INSTALLED} is missing; run scripts/install-reference.sh`)
  console.log(`      SKIPPED: ${INSTALLED} is missing; run scripts/install-reference.sh`)
  return false
}

/** A Python process that answers one line of JSON for each that it is asked, in order. */
export class Reference {
  readonly #process: ChildProcess
  readonly #waiting: ((answer: string | undefined) => void)[] = []

  /** @param script a file of this folder */
  constructor(script: string, ...args: readonly string[]) {
    this.#process = spawn(PYTHON, [join(import.meta.dirname, script), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        PATH: process.env.PATH,
        TZ: process.env.TZ,
        PYTHONDONTWRITEBYTECODE: '1',
        PYTHONWARNINGS: 'ignore',
        PYTHONUTF8: '1',
      },
    })
    createInterface({ input: this.#process.stdout! }).on('line', (line) =>
      this.#waiting.shift()?.(line),
    )
    this.#process.on('exit', () => {
      for (const answer of this.#waiting.splice(0)) answer(undefined)
    })
  }

  /** @param question JSON text on one line, or what makes such */
  async ask<T>(question: unknown): Promise<T> {
    const answered = new Promise<string | undefined>((resolve) => this.#waiting.push(resolve))
    const line = typeof question === 'string' ? question : JSON.stringify(question)
    this.#process.stdin!.write(`${line}\n`)
    const answer = await answered
    if (answer === undefined) throw new Error('the reference has ended')
    return JSON.parse(answer) as T
  }

  close(): void {
    this.#process.stdin!.end()
  }
}

/** Variables of a template as JSON text from which Python reads the same values. */
export function toPythonJson(value: unknown): string {
  if (value instanceof PyFloat) {
    if (Object.is(value.value, -0)) return '-0.0'
    return value.value.toExponential()
  }
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(toPythonJson).join()}]`
  const pairs = value instanceof Map ? [...value] : Object.entries(value)
  const defined = pairs.filter(([, one]) => one !== undefined)
  return `{${defined.map(([key, one]) => `${JSON.stringify(key)}:${toPythonJson(one)}`).join()}}`
}
