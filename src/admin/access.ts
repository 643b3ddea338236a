import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { type Answer, json } from './route.ts'

/**
 * Undefined for who may read; else the refusal. Without a token that is the loopback, under a name that no stranger's page
 * can have: a browser on this machine may be told that another site's name is 127.0.0.1.
 */
export function refusalOf(request: IncomingMessage, token: string | undefined): Answer | undefined {
  if (token !== undefined) {
    const given = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
    if (timingSafeEqual(digest(given), digest(token))) return undefined
    return json(401, {
      error: 'send the token of --admin-token-file as "authorization: Bearer ..."',
    })
  }
  if (!isLoopback(request.socket.remoteAddress ?? '')) {
    return json(403, {
      error:
        'this page answers loopback only; start with --admin-token-file to read it from elsewhere',
    })
  }
  const name = hostName(request.headers.host ?? '')
  if (name === '' || name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0) {
    return undefined
  }
  return json(403, {
    error: `this page answers to localhost or an address, not to "${name}"; start with --admin-token-file to read it under that name`,
  })
}

function hostName(host: string): string {
  return host
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.')
}
