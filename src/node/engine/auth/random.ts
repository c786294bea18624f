// Secrets and digests of the auth flows.

import { randomText } from '../../../lib/id.ts'
import type { Rng } from '../../../lib/rng.ts'

const digits = '1234567890'

/** Letters and digits; from a cryptographic generator, as every secret. */
export function randomSecret(rng: Rng, length: number): string {
  return randomText(rng, length)
}

/** A one-time password that can be typed on a number pad. */
export function randomDigits(rng: Rng, length: number): string {
  return randomText(rng, length, digits)
}

/** SHA-256 in base64url without padding. */
export function sha256Base64Url(text: string): string {
  return new Bun.CryptoHasher('sha256').update(text).digest('base64url')
}

/** Names a pair of address and browser in `_authOrigins`; not a secret, and no defence rests on it. */
export function fingerprintOf(ip: string, userAgent: string): string {
  return new Bun.CryptoHasher('md5').update(ip + userAgent).digest('hex')
}
