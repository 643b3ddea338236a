import { App, type ServeOptions } from '../app.ts'

/** Serves until SIGTERM or SIGINT, then drains; a second signal ends at once. */
export async function runServe(options: ServeOptions): Promise<void> {
  const app = await App.start(options)
  await signalled()
  await app.close()
}

/** Resolves at the first SIGTERM or SIGINT; from then on a signal ends the process at once. */
export async function signalled(): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(1))
}
