// Who may connect. libzmq asks over ZAP (RFC 27) for every connection; without an answer any client that knows a
// server's public key would get in. The domain of an endpoint lists the roles it allows; the key proves the role.

import { fromUtf8, utf8 } from '../../lib/bytes.ts'
import { type ClusterSecrets, publicKeysOf, type Role, roles } from '../keys.ts'

/** Bound in each context; the address is fixed by the protocol. */
export const zapAddress = 'inproc://zeromq.zap.01'
const zapVersion = '1.0'
const separator = '+'

/** The ZAP domain of an endpoint. */
export function zapDomain(allow: readonly Role[]): string {
  return allow.join(separator)
}

/** Public keys to roles, for both valid secrets. */
export function keyRing(secrets: ClusterSecrets): ReadonlyMap<string, Role> {
  const ring = new Map<string, Role>()
  for (const role of roles) for (const key of publicKeysOf(secrets, role)) ring.set(keyId(key), role)
  return ring
}

const keyId = (key: Uint8Array) => Buffer.from(key).toString('hex')

export interface ZapAnswer {
  readonly frames: Uint8Array[]
  readonly allowed: boolean
  readonly reason: string
}

/**
 * Answers one request. Pure.
 *
 * Request: version, request id, domain, address, identity, mechanism, credentials. Reply: version, request id, status,
 * text, user id, metadata. The user id is the role; libzmq attaches it to every message of the connection.
 */
export function answerZap(ring: ReadonlyMap<string, Role>, request: readonly Uint8Array[]): ZapAnswer {
  const requestId = request[1] ?? new Uint8Array(0)
  const reply = (status: '200' | '400', reason: string, user: string): ZapAnswer => ({
    frames: [utf8(zapVersion), requestId, utf8(status), utf8(reason), utf8(user), new Uint8Array(0)],
    allowed: status === '200',
    reason,
  })
  if (request.length !== 7 || fromUtf8(request[0]!) !== zapVersion) return reply('400', 'malformed request', '')
  if (fromUtf8(request[5]!) !== 'CURVE') return reply('400', 'not CURVE', '')
  const role = ring.get(keyId(request[6]!))
  if (role === undefined) return reply('400', 'unknown key', '')
  const allowed = fromUtf8(request[2]!).split(separator)
  if (!allowed.includes(role)) return reply('400', `role ${role} is not allowed here`, '')
  return reply('200', 'OK', role)
}

/** The role behind a ZAP user id. */
export function roleOfUser(user: string): Role | null {
  return roles.find((role) => role === user) ?? null
}
