/**
 * HMAC-SHA256 of `text`.
 *
 * Bun's hasher reports whatever error the TLS library still remembers from an earlier, unrelated failure of this thread
 * (a malformed key that somebody sent, for instance), although its own work succeeded. Reporting clears the memory, so the
 * second try is the honest one; without it one tenant's bad key could fail another's sign-in.
 */
export function hmacSha256(key: string | Uint8Array, text: string): Buffer {
  const compute = () => new Bun.CryptoHasher('sha256', key).update(text).digest()
  try {
    return compute()
  } catch {
    return compute()
  }
}
