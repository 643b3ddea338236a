import type { Notices } from '../framework/services.ts'

/** What is blind, stale or without effect right now, in words, each since when. */
export function createNotices(epochMs: () => number): Notices {
  const notices = new Map<string, { text: string; sinceEpochMs: number }>()
  return {
    set(key, text) {
      if (text === undefined) notices.delete(key)
      else {
        notices.set(key, { text, sinceEpochMs: notices.get(key)?.sinceEpochMs ?? epochMs() })
      }
    },
    list: () => [...notices].map(([key, notice]) => ({ key, ...notice })),
  }
}

/** The notices of one part of the process: their keys begin with its name. */
export function noticesOf(name: string, notices: Notices): Notices {
  const prefix = `${name}:`
  return {
    set: (key, text) => notices.set(prefix + key, text),
    list: () => notices.list().filter(({ key }) => key.startsWith(prefix)),
  }
}
