import { addString } from './add-model.ts'
import { rewriteString } from './rewrite-model.ts'

const KEY = 'cache_salt'

/**
 * The same bytes with the top-level `cache_salt` replaced where it stands, or added, and nothing else touched or copied.
 *
 * @param before the salt that the body has; undefined where the last such key, which is the one that counts, has no text
 */
export function setSalt(
  body: readonly Uint8Array[],
  salt: string,
  before: string | undefined,
): readonly Uint8Array[] {
  return before === undefined ? addString(body, KEY, salt) : rewriteString(body, KEY, salt)
}
