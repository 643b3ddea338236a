import type { LogFields, Logger } from '../framework/services.ts'

export type LogFormat = 'text' | 'json'
const LEVELS = ['debug', 'info', 'warn', 'error'] as const
type Level = (typeof LEVELS)[number]

export interface LogOptions {
  readonly format: LogFormat
  /** Lines below it are not written. */
  readonly level: Level
  readonly write: (line: string) => void
  readonly epochMs: () => number
}

/** Keys already warned of; bounded, since keys come from what the world sends: the oldest are forgotten. */
const MAX_WARNED = 10_000

/** The log: one line per event, as text (`TIME LEVEL logger message {json}`) or as one JSON object. */
export function createLogger(options: LogOptions): Logger {
  const warned = new Set<string>()
  const threshold = LEVELS.indexOf(options.level)
  const timeOf = isoTimes()
  const loggers = new Map<string, Logger>()
  const named = (name: string): Logger => {
    const existing = loggers.get(name)
    if (existing) return existing
    const log = (level: Level) => {
      if (LEVELS.indexOf(level) < threshold) return () => {}
      return (message: string, fields?: LogFields) => write(level, message, fields)
    }
    const write = (level: Level, message: string, fields?: LogFields) => {
      const time = timeOf(options.epochMs())
      options.write(
        options.format === 'json'
          ? json(time, level, name, message, fields)
          : text(time, level, name, message, fields),
      )
    }
    const logger: Logger = {
      debug: log('debug'),
      info: log('info'),
      warn: log('warn'),
      error: log('error'),
      warnOnce(key, message, fields) {
        if (warned.has(key)) return
        if (warned.size >= MAX_WARNED) warned.delete(warned.values().next().value!)
        warned.add(key)
        logger.warn(message, fields)
      },
      named,
    }
    loggers.set(name, logger)
    return logger
  }
  return named('epp')
}

function text(time: string, level: Level, name: string, message: string, fields?: LogFields) {
  const shown = fields === undefined ? '' : members(fields, ': ', ', ', textValue)
  const head = `${time}\t${level.toUpperCase()}\t${name}\t${oneLine(message)}`
  return shown === '' ? `${head}\n` : `${head}\t{${visible(shown)}}\n`
}

function json(time: string, level: Level, name: string, message: string, fields?: LogFields) {
  const line = { time, level, logger: name, msg: message, ...fields }
  return `{${visible(members(line, ':', ',', plain))}}\n`
}

/** Times as ISO 8601; most lines have the millisecond of the one before. */
function isoTimes(): (epochMs: number) => string {
  let lastMs = Number.NaN
  let last = ''
  return (epochMs) => {
    if (epochMs !== lastMs) {
      lastMs = epochMs
      last = new Date(epochMs).toISOString()
    }
    return last
  }
}

/** The members of a JSON object. */
function members(
  values: LogFields,
  colon: string,
  comma: string,
  replacer: (key: string, value: unknown) => unknown,
): string {
  let text = ''
  for (const key in values) {
    const value = values[key]
    const json = isPlain(value) ? jsonOf(value) : JSON.stringify(value, replacer)
    if (json === undefined) continue
    text += `${text === '' ? '' : comma}${jsonOf(key)}${colon}${json}`
  }
  return text
}

const NEEDS_NO_ESCAPE = /^[ !#-[\]-~]*$/

function jsonOf(value: unknown): string | undefined {
  return typeof value === 'string' && NEEDS_NO_ESCAPE.test(value)
    ? `"${value}"`
    : JSON.stringify(value)
}

/** True for what JSON shows as it is: a replacer would be called for each value in it. */
function isPlain(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return typeof value !== 'bigint'
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype || hasText(value)) return false
  for (const key in value) {
    const member: unknown = (value as Record<string, unknown>)[key]
    if (typeof member === 'object' ? member !== null : typeof member === 'bigint') return false
  }
  return true
}

function textValue(key: string, value: unknown): unknown {
  return hasText(value) ? value.toText() : plain(key, value)
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  return value instanceof Error ? value.message : value
}

function hasText(value: unknown): value is { toText(): string } {
  return typeof value === 'object' && value !== null && 'toText' in value
}

/** Line ends and terminal escapes become visible: messages can hold what strangers sent. */
function oneLine(message: string): string {
  return visible(message.replaceAll('\n', '\\n'))
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSEEN = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/

/** JSON leaves some control characters and line ends as they are. */
function visible(text: string): string {
  if (!UNSEEN.test(text)) return text
  return text.replaceAll(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
