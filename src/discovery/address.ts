import { isIP, isIPv6 } from 'node:net'

/** A literal IP address without brackets; undefined when it is none. */
export function parseAddress(text: string): string | undefined {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
  if (isIP(bare) === 0 || (bare !== text && !isIPv6(bare))) return undefined
  // One spelling for each IPv6 address, or two entries could name one server unseen.
  return isIPv6(bare) && !bare.includes('%')
    ? new URL(`http://[${bare}]/`).hostname.slice(1, -1)
    : bare
}

/** A port from 1 to 65535, as a number or in digits; undefined when it is none. */
export function parsePort(value: unknown): number | undefined {
  const digits = typeof value === 'string' && /^\d{1,5}$/.test(value.trim())
  const port = digits ? Number(value) : value
  return typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65535
    ? port
    : undefined
}

/** Why a text is no address, as the end of a message. */
export function addressFault(text: string): string {
  if (text === '') return 'the address is empty; give an IP address such as 10.0.0.5'
  return /[a-z]/i.test(text) && !text.includes(':')
    ? `"${text}" is a host name; give its IP address`
    : `"${text}" is no IP address; give one such as 10.0.0.5 or [fd00::5]`
}
