import { SchedulerError } from '../../../framework/errors.ts'

/** Why an object cannot be read, for people: the field's path, what is wrong with it, what to write instead. */
export interface Fault {
  readonly fault: string
}

/** True for the outcome of a reader that could not read. */
export function isFault(value: unknown): value is Fault {
  return typeof value === 'object' && value !== null && 'fault' in value
}

/** A value within an untrusted object, together with the path by which people find it. A null counts as absent. */
export class Field {
  readonly path: string
  readonly value: unknown

  constructor(value: unknown, path = '') {
    this.value = value ?? undefined
    this.path = path
  }

  get present(): boolean {
    return this.value !== undefined
  }

  /** A member of this object; absent when this is absent. */
  get(key: string): Field {
    const path = this.path === '' ? key : `${this.path}.${key}`
    if (!this.present) return new Field(undefined, path)
    const object = this.#object()
    return new Field(Object.hasOwn(object, key) ? object[key] : undefined, path)
  }

  /** The names of this object's members; none when it is absent. */
  keys(): readonly string[] {
    return this.present ? Object.keys(this.#object()) : []
  }

  /** The entries of this list; none when it is absent. */
  items(): readonly Field[] {
    if (!this.present) return []
    if (!Array.isArray(this.value)) this.fail(`must be a list, is ${shown(this.value)}`)
    return this.value.map((item, i) => new Field(item, `${this.path}[${i}]`))
  }

  /** A text of at least one character. */
  text(): string {
    if (!this.present) this.fail('is missing')
    if (typeof this.value !== 'string' || this.value === '') {
      this.fail(`must be a text that is not empty, is ${shown(this.value)}`)
    }
    return this.value
  }

  /** A text that no message may show. */
  secret(): string {
    if (typeof this.value !== 'string' || this.value === '') {
      this.fail('must be a text that is not empty')
    }
    return this.value
  }

  textOr<T>(absent: T): string | T {
    return this.present ? this.text() : absent
  }

  /** A whole number from `least` to `most`. */
  integer(least: number, most: number): number {
    if (!this.present) this.fail('is missing')
    const { value } = this
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
      this.fail(`must be a whole number from ${least} to ${most}, is ${shown(value)}`)
    }
    return value
  }

  /** An object whose values are texts, such as labels; empty when it is absent. */
  texts(): Readonly<Record<string, string>> {
    return Object.fromEntries(
      this.keys().map((key) => {
        const { value, path } = this.get(key)
        if (typeof value === 'string') return [key, value]
        return new Field(value, path).fail(
          `must be a text, is ${shown(value)}; put it in quotation marks`,
        )
      }),
    )
  }

  /** @throws {SchedulerError} CONFIG_INVALID, which `readObject` turns into a fault */
  fail(what: string): never {
    throw new SchedulerError('CONFIG_INVALID', `${this.path || 'the object'} ${what}`)
  }

  #object(): Record<string, unknown> {
    const { value } = this
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.fail(`must be an object, is ${shown(value)}`)
    }
    return value as Record<string, unknown>
  }
}

/** What `read` makes of an untrusted object, or the first thing that is wrong with it. Never throws for what it holds. */
export function readObject<T>(object: unknown, read: (root: Field) => T): T | Fault {
  try {
    return read(new Field(object))
  } catch (error) {
    if (error instanceof SchedulerError) return { fault: error.message }
    throw error
  }
}

/** A value as messages show it. */
export function shown(value: unknown): string {
  if (value === undefined) return 'missing'
  // Never turned into JSON: an object may be nested deeper than the stack.
  if (typeof value === 'object') return Array.isArray(value) ? 'a list' : 'an object'
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
