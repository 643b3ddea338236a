import type { IncomingMessage } from 'node:http'

/** What a page says. */
export interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string | Uint8Array
  /** Besides those of every page. */
  readonly headers?: Readonly<Record<string, string>>
}

/** One request for a page. */
export interface Asked {
  readonly request: IncomingMessage
  readonly url: URL
  /** What comes after the path of a route that ends in "/", percent signs decoded; else empty. */
  readonly rest: string
}

/**
 * Who may ask: `all` is everybody; `reader` is the loopback, or whoever has the token where one is set; `shell` is what
 * holds no data and asks for the token, so where one is set it is for everybody, else for the loopback.
 */
export type Access = 'all' | 'reader' | 'shell'

/** One page, or all pages under a path. */
export interface Route {
  readonly method: 'GET' | 'POST'
  /** A whole path, or with "/" at its end whatever begins with it. */
  readonly path: string
  readonly access: Access
  /** How the list of pages names it; absent for what it does not list. */
  readonly shown?: string
  answer(asked: Asked): Answer | Promise<Answer>
}

export const TEXT_TYPE = 'text/plain; charset=utf-8'
const JSON_TYPE = 'application/json; charset=utf-8'

export function text(status: number, body: string): Answer {
  return { status, type: TEXT_TYPE, body }
}

/** JSON laid out for people. */
export function json(status: number, value: unknown): Answer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(value, null, 2)}\n` }
}

/** JSON for programs that ask often. */
export function compactJson(value: unknown): Answer {
  return { status: 200, type: JSON_TYPE, body: JSON.stringify(value) }
}
