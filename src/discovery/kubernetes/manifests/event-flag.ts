import type { KvEventsField } from '../../../framework/engine-command/kv-events-flag.ts'
import { lastFlag } from '../../../framework/engine-command/vllm-args.ts'
import type { Word } from '../../../framework/engine-command/word.ts'
import type { Engine } from './engine.ts'

/** As messages name it. */
export const EVENT_FLAG = '--kv-events-config'

/** Says what is wrong from one UTF-16 unit of a word on. */
export type ReportWord = (word: Word, unit: number, message: string) => void

/** Where a field stands, or the whole value when it is not there. */
export function placeWithin(field: KvEventsField | undefined, word: Word): readonly [Word, number] {
  return field === undefined ? [word, 0] : [field.word, field.index]
}

/** The pod's address as the engine's command line has to name it. */
export function podIpReference({ shell }: Engine): string {
  return `$${shell ? '{POD_IP}' : '(POD_IP)'}`
}

/** A text as a shell takes it in double quotes, with its variables expanded. */
export function doubleQuoted(text: string): string {
  return `"${text.replace(/["\\`]/g, (character) => `\\${character}`)}"`
}

/** True when the flag is given in its dotted form, each field a word of its own. */
export function isDotted({ args }: Engine): boolean {
  return lastFlag(args, 'kv-events-config') === undefined
}
