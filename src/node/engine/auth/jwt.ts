// JSON Web Tokens, HS256 only (RFC 7515, RFC 7519). Verification is split in two because the key depends on claims:
// first decode without trust, then look up who the token names, then check the signature with that owner's key.
//
//   base64url(header) "." base64url(claims) "." base64url(HMAC-SHA256(key, header "." claims))

import { hmacSha256 } from '../../../lib/crypto/hmac.ts'

/** Claims as they were sent; nothing in them may be trusted before {@link isSignedWith} said yes. */
export type JwtClaims = Readonly<Record<string, unknown>>

export interface DecodedJwt {
  readonly claims: JwtClaims
  /** What the signature covers. */
  readonly signedText: string
  /** base64url without padding, as it was sent. */
  readonly signature: string
}

/** Characters; our own tokens are below 1,000. Longer input is refused before anything of it is decoded. */
export const jwtLengthMax = 8192

/** The header of every token we make, encoded: `{"alg":"HS256","typ":"JWT"}`. */
const ownHeader = 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9'
const base64urlPattern = /^[A-Za-z0-9_-]+$/

/** Signs `claims` with HMAC-SHA256. Keys are sorted, so equal claims give equal tokens. */
export function signJwt(claims: JwtClaims, key: string): string {
  // `fromEntries` makes own members of all names, `__proto__` too.
  const sorted = Object.fromEntries(
    Object.keys(claims)
      .sort()
      .map((name) => [name, claims[name]]),
  )
  const signedText = `${ownHeader}.${Buffer.from(JSON.stringify(sorted)).toString('base64url')}`
  return `${signedText}.${hmac(signedText, key)}`
}

/**
 * Splits and decodes a token without checking its signature.
 *
 * @returns null for anything that is not three base64url parts with a JSON object as claims and a header that says
 *   HS256: `none` and every other algorithm end here, whatever their case.
 */
export function decodeJwt(token: string): DecodedJwt | null {
  if (token.length > jwtLengthMax) return null
  const firstDot = token.indexOf('.')
  const secondDot = token.indexOf('.', firstDot + 1)
  if (firstDot <= 0 || secondDot < 0 || token.indexOf('.', secondDot + 1) >= 0) return null
  const header = token.slice(0, firstDot)
  if (header !== ownHeader && !saysHs256(header)) return null
  const claims = parseObject(token.slice(firstDot + 1, secondDot))
  if (claims === null) return null
  return { claims, signedText: token.slice(0, secondDot), signature: token.slice(secondDot + 1) }
}

/** Whether the token was signed with `key`; takes the same time for every wrong signature of the right length. */
export function isSignedWith(token: DecodedJwt, key: string): boolean {
  if (key === '') return false // an empty key would let anybody sign
  return equalText(hmac(token.signedText, key), token.signature)
}

/**
 * Whether `exp`, `nbf` and (when `checkIssuedAt`) `iat` allow the token now. Missing ones allow it; ones that are not
 * numbers never do.
 */
export function isTimely(claims: JwtClaims, nowMs: number, options: TimelyOptions = {}): boolean {
  const { leewayMs = 0, checkIssuedAt = false } = options
  const expiresAt = claims['exp']
  if (expiresAt !== undefined && !(isTime(expiresAt) && nowMs < expiresAt * 1000 + leewayMs)) return false
  const notBefore = claims['nbf']
  if (notBefore !== undefined && !(isTime(notBefore) && nowMs >= notBefore * 1000 - leewayMs)) return false
  const issuedAt = claims['iat']
  if (checkIssuedAt && issuedAt !== undefined && !(isTime(issuedAt) && nowMs >= issuedAt * 1000 - leewayMs))
    return false
  return true
}

export interface TimelyOptions {
  /** How far the clocks of signer and reader may differ; 0 by default. */
  readonly leewayMs?: number
  readonly checkIssuedAt?: boolean
}

/** Compares two texts without telling by its time where they differ. Their lengths are no secret. */
export function equalText(a: string, b: string): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}

function hmac(text: string, key: string): string {
  return hmacSha256(key, text).toString('base64url')
}

function saysHs256(header: string): boolean {
  return parseObject(header)?.['alg'] === 'HS256'
}

function parseObject(encoded: string): JwtClaims | null {
  if (!base64urlPattern.test(encoded)) return null
  try {
    const value: unknown = JSON.parse(Buffer.from(encoded, 'base64url').toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JwtClaims) : null
  } catch {
    return null // not JSON: not a token
  }
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}
