// Has benchmarks measure what is built: what they import of src/ comes from dist/. What runs the sources as they are names
// each closure that is made, which costs more than some of what is measured.
import { register } from 'node:module'

const root = new URL('..', import.meta.url).href

export async function resolve(specifier, context, next) {
  const resolved = await next(specifier, context)
  const [, path] = resolved.url.split(`${root}src/`)
  if (path === undefined) return resolved
  const url = `${root}dist/${path.replace(/\.ts(?=$|\?)/, '.js')}`
  return { ...resolved, url, format: 'module' }
}

if (!import.meta.url.includes('?hooks')) register(`${import.meta.url}?hooks`)
