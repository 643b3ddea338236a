import { createServer } from 'node:net'

/** True when nobody listens at the port of the address. */
export function isFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, address, () => server.close(() => resolve(true)))
  })
}

/** A port that is free, as are those after it, on every address: ranks of one engine have ports in a row. */
export async function freePorts(addresses: readonly string[], count: number): Promise<number> {
  for (let base = 21_000; base < 30_000; base += count) {
    const asked = addresses.flatMap((address) =>
      Array.from({ length: count }, (_, i) => isFree(address, base + i)),
    )
    if ((await Promise.all(asked)).every(Boolean)) return base
  }
  throw new Error(`no ${count} ports in a row are free on ${addresses.join()}`)
}
