import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Files of one module that are looked at; it may have more. */
const MAX_FILES = 500
/** What a file takes in by a relative path. Paths that are computed are not seen. */
const RELATIVE = /\b(?:from|import)\s*\(?\s*(['"])(\.{1,2}\/[^'"\n]+)\1/g

/**
 * A digest of a module's own code: of its file, and of the files that it takes in by relative paths. Another one when any
 * of them changes, comes or goes; undefined when the file itself cannot be read.
 */
export async function moduleDigest(path: string): Promise<string | undefined> {
  const hash = createHash('sha256')
  const paths = [path]
  for (let next = 0; next < paths.length && next < MAX_FILES; next++) {
    const found = await readSource(paths[next]!)
    if (found === undefined && next === 0) return undefined
    hash.update(`${paths[next]}\0${found?.path}\0${found?.text.length}\0${found?.text}`)
    if (found === undefined) continue
    for (const [, , specifier] of found.text.matchAll(RELATIVE)) {
      const taken = resolve(dirname(found.path), specifier!)
      if (!paths.includes(taken)) paths.push(taken)
    }
  }
  return hash.digest('hex')
}

/** The file of an import, which may name what it is compiled to, or leave the ending out. */
async function readSource(
  path: string,
): Promise<{ readonly path: string; readonly text: string } | undefined> {
  for (const each of [path, path.replace(/\.([cm]?)js$/, '.$1ts'), `${path}.ts`, `${path}.js`]) {
    try {
      return { path: each, text: await readFile(each, 'utf8') }
    } catch {
      // The next one.
    }
  }
  return undefined
}
