import { SchedulerError } from '../framework/errors.ts'

/** A server that may listen. */
export interface OpenPort {
  /** @returns the number of the port; rejects with the system's error */
  listen(host: string, port: number): Promise<number>
  /** Resolves when all connections are closed; what is still open after `graceMs` is cut off. */
  close(graceMs: number): Promise<void>
}

/**
 * Opens a port on `host`, without one on all addresses, IPv6 and IPv4.
 *
 * @param flag what names the port on the command line
 * @returns its number
 * @throws {SchedulerError} PORT_IN_USE, or START_FAILED when it cannot be opened for another reason
 */
export async function openPort(
  server: OpenPort,
  host: string | undefined,
  port: number,
  flag: string,
): Promise<number> {
  if (host !== undefined) return openOn(server, host, port, flag)
  try {
    return await openOn(server, '::', port, flag)
  } catch (error) {
    // A machine without IPv6.
    if (error instanceof SchedulerError && error.code === 'PORT_IN_USE') throw error
    return openOn(server, '0.0.0.0', port, flag)
  }
}

async function openOn(server: OpenPort, host: string, port: number, flag: string): Promise<number> {
  try {
    return await server.listen(host, port)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') {
      const text = `port ${port} on ${host} is in use; end the process that has it or choose another with ${flag}`
      throw new SchedulerError('PORT_IN_USE', text, { cause })
    }
    const at = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
    throw new SchedulerError('START_FAILED', `cannot listen on ${at} (${flag}): ${message}`, {
      cause,
    })
  }
}
