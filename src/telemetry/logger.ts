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
  const loggers = new Map<string, Logger>()
  const named = (name: string): Logger => {
    const existing = loggers.get(name)
    if (existing) return existing
    const log = (level: Level) => {
      if (LEVELS.indexOf(level) < threshold) return () => {}
      return (message: string, fields?: LogFields) => write(level, message, fields)
    }
    const write = (level: Level, message: string, fields?: LogFields) => {
      const time = new Date(options.epochMs()).toISOString()
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

/** The members of a JSON object. A replacer is called for each value in a value, so that plain ones go without. */
function members(
  values: LogFields,
  colon: string,
  comma: string,
  replacer: (key: string, value: unknown) => unknown,
): string {
  let text = ''
  for (const key in values) {
    const value = values[key]
    const isPlain = typeof value === 'string' || typeof value === 'number'
    const json = isPlain ? JSON.stringify(value) : JSON.stringify(value, replacer)
    if (json === undefined) continue
    text += `${text === '' ? '' : comma}${JSON.stringify(key)}${colon}${json}`
  }
  return text
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

const UNSEEN = /[\p{Cc}\u2028\u2029]/u

/** JSON leaves some control characters and line ends as they are. */
function visible(text: string): string {
  if (!UNSEEN.test(text)) return text
  return text.replaceAll(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
