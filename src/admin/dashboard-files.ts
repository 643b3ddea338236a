import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Answer } from './route.ts'

const FOLDER = new URL('../../dashboard/', import.meta.url)
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}
/** Of the package of charts: its name here, and there. */
const CHARTS: Readonly<Record<string, string>> = {
  'uplot.js': 'uplot/dist/uPlot.esm.js',
  'uplot.css': 'uplot/dist/uPlot.min.css',
}
/** No other file can be asked for: a name has no folder in it. */
const NAME = /^[a-z][a-z-]*\.(?:html|css|js|svg)$/

/** The dashboard's own files and those of its charts, as they lie on the disk: there is nothing to build. */
export async function dashboardFile(name: string): Promise<Answer | undefined> {
  if (!NAME.test(name)) return undefined
  const chart = CHARTS[name]
  const path =
    chart === undefined
      ? fileURLToPath(new URL(name, FOLDER))
      : createRequire(import.meta.url).resolve(chart)
  try {
    return { status: 200, type: TYPES[extname(name)]!, body: await readFile(path) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
