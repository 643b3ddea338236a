import { distance } from 'fastest-levenshtein'

/** Longer lists are not read. */
const SHORT_LIST = 20

/**
 * The known word that `word` was probably meant to be; undefined when none is near. Near is a third of the letters, at
 * most three.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  const limit = Math.min(3, Math.max(1, Math.floor(word.length / 3)))
  let best: string | undefined
  let bestDistance = limit + 1
  for (const candidate of known) {
    const steps = distance(word.toLowerCase(), candidate.toLowerCase())
    if (steps < bestDistance) {
      best = candidate
      bestDistance = steps
    }
  }
  return best
}

/**
 * The end of a message about an unknown word: what was meant, else what there is.
 *
 * @param alsoNear words that are understood but not offered in the list
 */
export function suggestion(
  word: string,
  known: readonly string[],
  alsoNear: readonly string[] = [],
): string {
  const near = nearest(word, [...known, ...alsoNear])
  if (near !== undefined) return `; did you mean "${near}"?`
  if (known.length === 0 || known.length > SHORT_LIST) return ''
  return `; known: ${known.join(', ')}`
}
