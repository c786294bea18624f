// The five kinds of tokens of an auth record. Each is signed with the record's own token key followed by the secret of
// its kind: changing either makes every older token worthless, and no kind passes for another.

import type { TokenOptions } from '../collections/collection.ts'
import type { EngineRecord } from '../records/record.ts'
import { decodeJwt, isSignedWith, isTimely, type JwtClaims, signJwt } from './jwt.ts'

export type TokenType = 'auth' | 'file' | 'verification' | 'passwordReset' | 'emailChange'

const tokenTypes: readonly string[] = ['auth', 'file', 'verification', 'passwordReset', 'emailChange']

/** A token for requests; it can be exchanged for a fresh one by `auth-refresh`. */
export function newAuthToken(record: EngineRecord, nowMs: number): string {
  return sign(record, 'auth', record.collection.auth.authToken.duration, nowMs, { refreshable: true })
}

/**
 * A token for requests that ends at its time for good: impersonation and the installer.
 *
 * @param durationS 0 or less means the collection's duration.
 */
export function newStaticAuthToken(record: EngineRecord, durationS: number, nowMs: number): string {
  const duration = durationS > 0 ? durationS : record.collection.auth.authToken.duration
  return sign(record, 'auth', duration, nowMs, { refreshable: false })
}

/** A short-lived token for URLs of protected files. */
export function newFileToken(record: EngineRecord, nowMs: number): string {
  return sign(record, 'file', record.collection.auth.fileToken.duration, nowMs, {})
}

export function newVerificationToken(record: EngineRecord, nowMs: number): string {
  const { duration } = record.collection.auth.verificationToken
  return sign(record, 'verification', duration, nowMs, { email: record.text('email') })
}

export function newPasswordResetToken(record: EngineRecord, nowMs: number): string {
  const { duration } = record.collection.auth.passwordResetToken
  return sign(record, 'passwordReset', duration, nowMs, { email: record.text('email') })
}

export function newEmailChangeToken(record: EngineRecord, newEmail: string, nowMs: number): string {
  const { duration } = record.collection.auth.emailChangeToken
  return sign(record, 'emailChange', duration, nowMs, { email: record.text('email'), newEmail })
}

/** Finds a record by id; null when there is none. */
export type RecordLookup = (collectionId: string, recordId: string) => EngineRecord | null

/**
 * The record that a token speaks for.
 *
 * @param types which kinds are accepted; a token of another kind is as good as none.
 * @returns null for every token that is malformed, expired, of another kind, for a record that is gone, or signed with
 *   anything but that record's current key. Why it failed is nobody's business.
 */
export function findRecordByToken(
  token: string,
  types: readonly TokenType[],
  lookup: RecordLookup,
  nowMs: number,
): EngineRecord | null {
  const decoded = decodeJwt(token)
  if (decoded === null || !isTimely(decoded.claims, nowMs, { checkIssuedAt: true })) return null
  const { id, collectionId, type } = decoded.claims
  if (!isText(id) || !isText(collectionId) || !isTokenType(type) || !types.includes(type)) return null
  const record = lookup(collectionId, id)
  if (record === null || !record.collection.isAuth) return null
  const key = keyOf(record, type)
  return key !== null && isSignedWith(decoded, key) ? record : null
}

/** The claims of a token that need not be genuine: to choose a message, never to decide. Empty when unreadable. */
export function unverifiedClaims(token: string): JwtClaims {
  return decodeJwt(token)?.claims ?? {}
}

function sign(record: EngineRecord, type: TokenType, durationS: number, nowMs: number, claims: JwtClaims): string {
  const key = keyOf(record, type)
  if (key === null) throw new Error(`record ${record.id} has no token key`)
  const exp = Math.floor(nowMs / 1000) + durationS
  return signJwt({ ...claims, type, id: record.id, collectionId: record.collection.id, exp }, key)
}

/** Null when either half is missing: a token must never be signed with half a key. */
function keyOf(record: EngineRecord, type: TokenType): string | null {
  const tokenKey = record.text('tokenKey')
  const { secret } = optionsOf(record, type)
  return tokenKey === '' || secret === '' ? null : tokenKey + secret
}

function optionsOf(record: EngineRecord, type: TokenType): TokenOptions {
  const { auth } = record.collection
  switch (type) {
    case 'auth':
      return auth.authToken
    case 'file':
      return auth.fileToken
    case 'verification':
      return auth.verificationToken
    case 'passwordReset':
      return auth.passwordResetToken
    case 'emailChange':
      return auth.emailChangeToken
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isTokenType(value: unknown): value is TokenType {
  return typeof value === 'string' && tokenTypes.includes(value)
}
