// What a gateway tells an engine worker about a request, in one signed header. Workers listen on private addresses and
// refuse requests without it, so a client that reaches a worker's port directly gets nowhere.
//
//   x-pocketfleet-route: v1.<base64url of JSON payload>.<base64url of HMAC-SHA256 over "v1.<payload>">

import { timingSafeEqual } from 'node:crypto'
import { type Epoch, isTenantId, type TenantId } from '../../lib/brand.ts'
import { hmacSha256 } from '../../lib/crypto/hmac.ts'
import { LruMap } from '../../lib/lru.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import { type ClusterSecrets, deriveKey } from '../keys.ts'

export const routeHeaderName = 'x-pocketfleet-route'

/** Long enough for clocks that differ and a worker that is busy; short enough that a leaked header is soon worthless. */
export const routeHeaderLifetimeMs = 60_000

/** Far above any honest header: the largest part is a host name of 255 bytes. */
const routeHeaderLengthMax = 4_096

export interface RouteHeader {
  readonly tenantId: TenantId
  readonly epoch: Epoch
  /** The end user's address as the gateway saw or trusted it; no port. */
  readonly clientAddress: string
  readonly scheme: 'http' | 'https'
  /** The Host the client asked for, port included. */
  readonly host: string
  /** Wall clock, ms. */
  readonly expiresAtMs: number
  readonly requestId?: string
}

/** `malformed`: not a header of ours; `forged`: signed by nobody who knows the secret; `expired`: was valid once. */
export type RouteHeaderFailure = 'malformed' | 'forged' | 'expired'

/** Derived once per process; index 0 signs, all verify. */
export type RouteHeaderKeys = readonly [Uint8Array, ...Uint8Array[]]

export function routeHeaderKeys(secrets: ClusterSecrets): RouteHeaderKeys {
  const label = 'route-header/v1'
  const current = deriveKey(secrets.current, label)
  return secrets.previous === null ? [current] : [current, deriveKey(secrets.previous, label)]
}

/** The header's value. Pure: the same input gives the same text. */
export function signRouteHeader(keys: RouteHeaderKeys, header: RouteHeader): string {
  const signed = `v1.${Buffer.from(JSON.stringify(header)).toString('base64url')}`
  return `${signed}.${mac(keys[0], signed).toString('base64url')}`
}

/** Checks the signature first, so that only content of our own is ever parsed. Never throws. */
export function verifyRouteHeader(
  keys: RouteHeaderKeys,
  text: string,
  nowMs: number,
): Result<RouteHeader, RouteHeaderFailure> {
  if (text.length > routeHeaderLengthMax) return err('malformed')
  const parts = text.split('.')
  if (parts.length !== 3 || parts[0] !== 'v1') return err('malformed')
  const claimed = Buffer.from(parts[2]!, 'base64url')
  const signed = `v1.${parts[1]}`
  if (!keys.some((key) => sameMac(mac(key, signed), claimed))) return err('forged')
  const header = parseHeader(parts[1]!)
  if (header === null) return err('malformed')
  return header.expiresAtMs <= nowMs ? err('expired') : ok(header)
}

/** Headers whose signature was found good, some hundred bytes each. */
const verifiedMax = 10_000

/** {@link verifyRouteHeader} for one process: a gateway sends the same header for some seconds, so it is checked once. */
export class RouteHeaderVerifier {
  readonly #keys: RouteHeaderKeys
  readonly #verified = new LruMap<string, RouteHeader>(verifiedMax)

  constructor(keys: RouteHeaderKeys) {
    this.#keys = keys
  }

  verify(text: string, nowMs: number): Result<RouteHeader, RouteHeaderFailure> {
    const known = this.#verified.get(text)
    if (known !== undefined && known.expiresAtMs > nowMs) return ok(known)
    const verified = verifyRouteHeader(this.#keys, text, nowMs)
    if (verified.ok) this.#verified.set(text, verified.value)
    return verified
  }
}

function mac(key: Uint8Array, text: string): Buffer {
  return hmacSha256(key, text)
}

function sameMac(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

function parseHeader(base64: string): RouteHeader | null {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(base64, 'base64url').toString('utf8'))
  } catch {
    return null // signed by a newer or broken gateway: as good as no header
  }
  if (typeof value !== 'object' || value === null) return null
  const { tenantId, epoch, clientAddress, scheme, host, expiresAtMs, requestId } = value as Record<string, unknown>
  if (typeof tenantId !== 'string' || !isTenantId(tenantId)) return null
  if (typeof epoch !== 'number' || !Number.isInteger(epoch) || epoch < 1 || epoch > 0xffff_ffff) return null
  if (typeof clientAddress !== 'string' || typeof host !== 'string') return null
  if (scheme !== 'http' && scheme !== 'https') return null
  if (typeof expiresAtMs !== 'number' || !Number.isFinite(expiresAtMs)) return null
  if (requestId !== undefined && typeof requestId !== 'string') return null
  const header: RouteHeader = { tenantId, epoch: epoch as Epoch, clientAddress, scheme, host, expiresAtMs }
  return requestId === undefined ? header : { ...header, requestId }
}
