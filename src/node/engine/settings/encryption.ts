// Settings at rest, as PocketBase encrypts them: AES-256-GCM, base64 of nonce (12 bytes), ciphertext and tag (16).

import { AppError } from '../../../lib/errors.ts'
import type { Rng } from '../../../lib/rng.ts'

const nonceBytes = 12
const keyBytes = 32

/** The key is not 32 bytes, or does not open what is stored. */
export class SettingsEncryptionError extends AppError {
  readonly code = 'settings_encryption'
}

/** @param key exactly 32 bytes of UTF-8. */
export async function encryptSettings(plain: string, key: string, rng: Rng): Promise<string> {
  const nonce = rng.bytes(nonceBytes) as Uint8Array<ArrayBuffer>
  const sealed = await crypto.subtle.encrypt(
    { name: 'AES-GCM', iv: nonce },
    await importKey(key, 'encrypt'),
    new TextEncoder().encode(plain),
  )
  return Buffer.concat([nonce, new Uint8Array(sealed)]).toString('base64')
}

/** Fails with SettingsEncryptionError for a wrong key and for damaged text alike: they cannot be told apart. */
export async function decryptSettings(sealed: string, key: string): Promise<string> {
  const bytes = new Uint8Array(Buffer.from(sealed, 'base64'))
  if (bytes.length <= nonceBytes) throw new SettingsEncryptionError('the stored settings are no encrypted text')
  const cryptoKey = await importKey(key, 'decrypt')
  try {
    const iv = bytes.subarray(0, nonceBytes)
    const plain = await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, cryptoKey, bytes.subarray(nonceBytes))
    return new TextDecoder().decode(plain)
  } catch (cause) {
    throw new SettingsEncryptionError('the stored settings do not open with this encryption key', { cause })
  }
}

function importKey(key: string, use: 'encrypt' | 'decrypt'): Promise<CryptoKey> {
  const bytes = new TextEncoder().encode(key)
  if (bytes.length !== keyBytes)
    throw new SettingsEncryptionError(`the settings encryption key has ${bytes.length} bytes, not ${keyBytes}`)
  return crypto.subtle.importKey('raw', bytes, 'AES-GCM', false, [use])
}
