import type { ServerResponse } from 'node:http'
import { type ApiTable, eventFor, type Selection, type TableEvent } from './api-table.ts'

interface Watch {
  readonly resource: string
  readonly selection: Selection
  readonly response: ServerResponse
  readonly version: number
  /** Its bytes go nowhere, as after a connection was lost without a word. */
  dead: boolean
}

/** The open watches of an API server, and what can go wrong with them. */
export class ApiWatches {
  /** How a compacted history is answered: an event in a good answer, or a status. */
  goneAs: 'event' | 'status' = 'event'
  readonly #open = new Set<Watch>()
  readonly #bookmarkMs: number
  readonly #version: () => number
  #silent = false

  constructor(bookmarkMs: number, version: () => number) {
    this.#bookmarkMs = bookmarkMs
    this.#version = version
  }

  /** Resources of the open watches, such as `v1/pods`. */
  get resources(): readonly string[] {
    return [...this.#open].map(({ resource }) => resource)
  }

  /** From now on open and new watches neither say anything nor end. */
  set silent(silent: boolean) {
    this.#silent = silent
    if (silent) for (const watch of this.#open) watch.dead = true
  }

  tell(resource: string, change: TableEvent): void {
    for (const watch of this.#open) {
      if (watch.resource !== resource || change.version <= watch.version) continue
      const event = eventFor(watch.selection, change)
      if (event) say(watch, event)
    }
  }

  /** Cuts all watches. */
  drop(): void {
    for (const watch of this.#open) {
      this.#open.delete(watch)
      watch.response.destroy()
    }
  }

  /** Ends the watches of a resource, or all, as their timeout does. */
  end(resource?: string): void {
    for (const watch of this.#open) {
      if (!watch.dead && (resource === undefined || watch.resource === resource)) {
        this.#open.delete(watch)
        watch.response.end()
      }
    }
  }

  /** Writes bytes to all open watches of a resource. */
  write(plural: string, text: string): void {
    for (const { resource, response } of this.#open) {
      if (resource.endsWith(`/${plural}`)) response.write(text)
    }
  }

  /** Answers a watch. @returns the status of the answer */
  open(
    resource: string,
    table: ApiTable,
    selection: Selection,
    query: URLSearchParams,
    response: ServerResponse,
  ): number {
    const version = Number(query.get('resourceVersion'))
    const gone = version < table.oldestVersion
    const status = gone && this.goneAs === 'status' ? 410 : 200
    response.writeHead(status, { 'content-type': 'application/json' })
    response.flushHeaders()
    if (gone) {
      const message = `too old resource version: ${version} (${table.oldestVersion})`
      const object = { kind: 'Status', message, code: 410 }
      response.end(`${JSON.stringify(status === 410 ? object : { type: 'ERROR', object })}\n`)
      return status
    }
    const watch = { resource, selection, response, version, dead: this.#silent }
    this.#open.add(watch)
    for (const change of table.since(version)) {
      const event = eventFor(selection, change)
      if (event) say(watch, event)
    }
    const bookmarks = setInterval(() => {
      const now = this.#version()
      // A watch from a version that is not reached yet says nothing at all.
      if (now < version || query.get('allowWatchBookmarks') !== 'true') return
      say(watch, { type: 'BOOKMARK', object: { metadata: { resourceVersion: String(now) } } })
    }, this.#bookmarkMs)
    const seconds = Number(query.get('timeoutSeconds') || 1800)
    const timeout = setTimeout(() => {
      if (watch.dead) return
      this.#open.delete(watch)
      response.end()
    }, seconds * 1000)
    response.on('close', () => {
      this.#open.delete(watch)
      clearInterval(bookmarks)
      clearTimeout(timeout)
    })
    return status
  }
}

function say({ dead, response }: Watch, event: unknown): void {
  if (!dead && !response.writableEnded) response.write(`${JSON.stringify(event)}\n`)
}
