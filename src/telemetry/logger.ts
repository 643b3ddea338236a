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
    const log = (level: Level) => (message: string, fields?: LogFields) => {
      if (LEVELS.indexOf(level) < threshold) return
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
  const shown = fields && Object.keys(fields).length > 0 ? `\t${stringify(fields, textValue)}` : ''
  return `${time}\t${level.toUpperCase()}\t${name}\t${oneLine(message)}${shown}\n`
}

function json(time: string, level: Level, name: string, message: string, fields?: LogFields) {
  return `${stringify({ time, level, logger: name, msg: message, ...fields })}\n`
}

/** JSON with a space after `:` and `,` between members, as the documents' lines have it, where `replacer` is given. */
function stringify(value: LogFields, replacer?: (key: string, value: unknown) => unknown): string {
  if (!replacer) return visible(JSON.stringify(value, plain))
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([key, member]) => `${JSON.stringify(key)}: ${JSON.stringify(member, replacer)}`)
  return visible(`{${members.join(', ')}}`)
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

/** JSON leaves some control characters and line ends as they are. */
function visible(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
