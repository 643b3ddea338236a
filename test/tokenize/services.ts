import { Attributes } from '../../src/framework/attributes.ts'
import type { InferenceRequest, Prompt } from '../../src/framework/request.ts'
import type { Clock, Logger, Metrics, Notices } from '../../src/framework/services.ts'

/** A clock of the process. */
export const clock: Clock = { nowMs: () => performance.now(), epochMs: () => Date.now() }

/** Keeps what was logged. */
export function memoryLogger(): Logger & { readonly lines: string[] } {
  const lines: string[] = []
  const seen = new Set<string>()
  const add = (message: string, fields?: unknown): void => {
    lines.push(fields === undefined ? message : `${message} ${JSON.stringify(fields)}`)
  }
  const logger = {
    lines,
    debug: add,
    info: add,
    warn: add,
    error: add,
    warnOnce(key: string, message: string, fields?: unknown): void {
      if (!seen.has(key)) add(message, fields)
      seen.add(key)
    },
    named: () => logger,
  }
  return logger
}

/** Keeps counts by `name{label="value"}`, and who is asked for what is observed. */
export function memoryMetrics(): Metrics & {
  readonly counts: Map<string, number>
  observe(name: string): readonly number[]
} {
  const counts = new Map<string, number>()
  const readers = new Map<string, Parameters<Metrics['observed']>[2]>()
  const key = (name: string, labels: Readonly<Record<string, string>> = {}): string => {
    const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
    return `${name}{${pairs.join(',')}}`
  }
  return {
    counts,
    counter: (name, _help, labels) => ({
      inc: (value = 1) => {
        counts.set(key(name, labels), (counts.get(key(name, labels)) ?? 0) + value)
      },
    }),
    gauge: (name, _help, labels) => ({ set: (value) => void counts.set(key(name, labels), value) }),
    histogram: (name, _help, _buckets, labels) => ({
      observe: () => void counts.set(key(name, labels), (counts.get(key(name, labels)) ?? 0) + 1),
    }),
    observed: (name, _help, read) => void readers.set(name, read),
    observe: (name) => [...readers.get(name)!()].map(({ value }) => value),
  }
}

export function memoryNotices(): Notices & { readonly texts: Map<string, string> } {
  const texts = new Map<string, string>()
  return {
    texts,
    set(key, text) {
      if (text === undefined) texts.delete(key)
      else texts.set(key, text)
    },
    list: () => [...texts].map(([key, text]) => ({ key, text, sinceEpochMs: 0 })),
  }
}

/** A request with that prompt for that model. */
export function requestFor(model: string, prompt: Prompt | undefined): InferenceRequest {
  return {
    id: 'r-1',
    path: prompt?.kind === 'chat' ? '/v1/chat/completions' : '/v1/completions',
    headers: new Map(),
    model,
    targetModel: model,
    criticality: 'Standard',
    priority: 0,
    prompt,
    cacheSalt: undefined,
    maxOutputTokens: undefined,
    stream: false,
    bodyBytes: 0,
    attributes: new Attributes(),
  }
}
