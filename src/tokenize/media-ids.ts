import { createHash } from 'node:crypto'

/** Fields that make a part of a message a medium. */
const MEDIA_FIELDS = [
  ...['image_url', 'image_pil', 'image_embeds', 'audio_url', 'audio_embeds', 'input_audio'],
  ...['video_url', 'video_embeds', 'source', 'data'],
]
const IDS_PER_MEDIUM = 2

/**
 * Pseudo ids of the media in a chat's messages, in order: equal media have equal ids, different ones different ids. They
 * stand in the place of what only the engine knows, so that prompts with other images are not taken for the same.
 */
export function mediaIds(body: Readonly<Record<string, unknown>>): Int32Array[] {
  const found: Int32Array[] = []
  const rest: unknown[] = [body.input, body.messages]
  // A stack that hands out the first ones first.
  for (let next = rest.pop(); rest.length > 0 || next !== undefined; next = rest.pop()) {
    if (typeof next !== 'object' || next === null) continue
    if (Array.isArray(next)) {
      for (let i = next.length - 1; i >= 0; i--) rest.push(next[i])
    } else if (MEDIA_FIELDS.some((field) => Object.hasOwn(next, field))) found.push(idsOf(next))
    else rest.push((next as { content?: unknown }).content)
  }
  return found
}

function idsOf(part: object): Int32Array {
  const digest = createHash('sha256').update(JSON.stringify(part)).digest()
  return Int32Array.from(
    { length: IDS_PER_MEDIUM },
    (_, i) => digest.readInt32LE(i * 4) & 0x7fffffff,
  )
}

/**
 * The ids with those of the media put in: the first medium's where exactness ends, those of all others at the end.
 *
 * @param media at least one
 */
export function withMediaIds(
  ids: Int32Array,
  exactUpTo: number,
  media: readonly Int32Array[],
): Int32Array {
  const [first, ...others] = media as [Int32Array, ...Int32Array[]]
  const result = new Int32Array(ids.length + media.length * IDS_PER_MEDIUM)
  result.set(ids.subarray(0, exactUpTo))
  result.set(first, exactUpTo)
  result.set(ids.subarray(exactUpTo), exactUpTo + first.length)
  for (const [i, other] of others.entries()) {
    result.set(other, ids.length + (i + 1) * IDS_PER_MEDIUM)
  }
  return result
}

/** How many ids two lists begin with alike. */
export function commonIds(a: Int32Array, b: Int32Array): number {
  const limit = Math.min(a.length, b.length)
  let count = 0
  while (count < limit && a[count] === b[count]) count++
  return count
}
