import type { TenantId } from './brand.ts'
import type { Rng } from './rng.ts'

export const lowerAlphanumeric = 'abcdefghijklmnopqrstuvwxyz0123456789'
export const alphanumeric = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

/** `length` uniform characters of `alphabet` (at most 256 of them). */
export function randomText(rng: Rng, length: number, alphabet: string = alphanumeric): string {
  // Rejection sampling over one batch of bytes: no modulo bias, few calls.
  const limit = 256 - (256 % alphabet.length)
  let text = ''
  while (text.length < length) {
    const bytes = rng.bytes((length - text.length) * 2)
    // By index: a loop over the iterator costs three times as much, and every log entry has such an id.
    for (let i = 0; i < bytes.length && text.length < length; i++) {
      const byte = bytes[i]!
      if (byte < limit) text += alphabet[byte % alphabet.length]
    }
  }
  return text
}

/** PocketBase's default record id: 15 characters of a–z and 0–9. */
export function recordId(rng: Rng): string {
  return randomText(rng, 15, lowerAlphanumeric)
}

export function newTenantId(rng: Rng): TenantId {
  return randomText(rng, 15, lowerAlphanumeric) as TenantId
}
