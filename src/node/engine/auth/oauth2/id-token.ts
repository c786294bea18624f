// OpenID Connect's `id_token`: claims about the user that come with the access token. It arrives over a connection that
// we opened to the provider; where a key set is known its signature is checked as well.

import { AppError } from '../../../../lib/errors.ts'
import { equalText, isTimely, jwtLengthMax } from '../jwt.ts'
import { at, items, text } from './answer.ts'

/** How far a provider's clock may be off. */
const leewayMs = 5 * 60_000

export type IdTokenClaims = Readonly<Record<string, unknown>>

/** An `id_token` that must not be believed. */
export class IdTokenError extends AppError {
  readonly code = 'id_token'
}

export interface IdTokenExpectation {
  /** The client id; null where the audience does not matter. */
  readonly audience: string | null
  /** Empty: any. */
  readonly issuers: readonly string[]
  readonly isExpirationRequired: boolean
  readonly nowMs: number
}

/** Decodes the claims and checks everything but the signature. Fails with IdTokenError. */
export function readIdToken(idToken: string, expected: IdTokenExpectation): IdTokenClaims {
  const claims = parsePart(idToken.split('.')[1])
  if (expected.isExpirationRequired && claims['exp'] === undefined) throw new IdTokenError('id_token has no exp')
  if (!isTimely(claims, expected.nowMs, { leewayMs, checkIssuedAt: true }))
    throw new IdTokenError('id_token is expired or not valid yet')
  if (expected.audience !== null && !audiencesOf(claims).some((each) => equalText(each, expected.audience!)))
    throw new IdTokenError('id_token is meant for another client')
  const issuer = text(claims, 'iss')
  if (expected.issuers.length > 0 && !expected.issuers.some((each) => equalText(each, issuer)))
    throw new IdTokenError('id_token comes from another issuer')
  return claims
}

/**
 * Checks the signature with the key of `keySet` (a JSON Web Key Set) that the token names. The algorithm is the key's,
 * never the token's, or a public key could be used as an HMAC secret. Fails with IdTokenError.
 */
export async function verifyIdTokenSignature(idToken: string, keySet: unknown): Promise<void> {
  const parts = idToken.split('.')
  if (parts.length !== 3 || idToken.length > jwtLengthMax) throw new IdTokenError('id_token is no JSON Web Token')
  const header = parsePart(parts[0])
  const keyId = text(header, 'kid')
  if (keyId === '') throw new IdTokenError('id_token names no key')
  const key = items(at(keySet, 'keys')).find((each) => text(each, 'kid') === keyId && text(each, 'alg') !== '')
  if (key === undefined) throw new IdTokenError('id_token names a key that the provider does not publish')
  const algorithm = algorithmOf(key)
  if (text(header, 'alg') !== text(key, 'alg')) throw new IdTokenError('id_token is signed with another algorithm')
  const publicKey = await importKey(key, algorithm)
  const isValid = await crypto.subtle.verify(
    algorithm,
    publicKey,
    new Uint8Array(Buffer.from(parts[2]!, 'base64url')),
    new TextEncoder().encode(`${parts[0]}.${parts[1]}`),
  )
  if (!isValid) throw new IdTokenError('the signature of id_token is wrong')
}

type SignatureAlgorithm = { readonly name: string; readonly hash?: string; readonly saltLength?: number }

function algorithmOf(key: unknown): SignatureAlgorithm {
  const alg = text(key, 'alg')
  const hash = `SHA-${alg.slice(2)}`
  switch (`${text(key, 'kty')} ${alg}`) {
    case 'RSA RS256':
    case 'RSA RS384':
    case 'RSA RS512':
      return { name: 'RSASSA-PKCS1-v1_5', hash }
    case 'RSA PS256':
    case 'RSA PS384':
    case 'RSA PS512':
      return { name: 'RSA-PSS', hash, saltLength: Number(alg.slice(2)) / 8 }
    case 'OKP EdDSA':
      return { name: 'Ed25519' }
    default:
      throw new IdTokenError(`keys of type ${text(key, 'kty')} with algorithm ${alg} are not supported`)
  }
}

async function importKey(key: unknown, algorithm: SignatureAlgorithm): Promise<CryptoKey> {
  // Only the public members: whatever else a provider publishes says nothing about how we use the key.
  const jwk = Object.fromEntries(
    ['kty', 'n', 'e', 'crv', 'x'].flatMap((name) => (at(key, name) ? [[name, text(key, name)]] : [])),
  )
  try {
    return await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['verify'])
  } catch (cause) {
    throw new IdTokenError('the key that the provider publishes cannot be used', { cause })
  }
}

function audiencesOf(claims: IdTokenClaims): readonly string[] {
  const audience = claims['aud']
  return (Array.isArray(audience) ? audience : [audience]).filter((each) => typeof each === 'string')
}

function parsePart(encoded: string | undefined): IdTokenClaims {
  try {
    const value: unknown = JSON.parse(Buffer.from(encoded ?? '', 'base64url').toString())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as IdTokenClaims
  } catch (cause) {
    throw new IdTokenError('id_token is no JSON Web Token', { cause })
  }
  throw new IdTokenError('id_token is no JSON Web Token')
}
