import { App, type ServeOptions } from '../app.ts'

/** Serves until SIGTERM or SIGINT, then drains; a second signal ends at once. */
export async function runServe(options: ServeOptions): Promise<void> {
  const app = await App.start(options)
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1))
  await app.close()
}
