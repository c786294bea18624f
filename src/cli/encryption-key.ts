// The key that encrypts a standalone tenant's settings, from the variable that a flag names.

import { ConfigError } from '../lib/errors.ts'

/** Characters: AES-256 takes 32 bytes. */
const keyLength = 32

/** @returns null when no variable is named, or when it is empty. Throws ConfigError for another length. */
export function encryptionKey(variable: string | undefined): string | null {
  if (variable === undefined) return null
  const key = process.env[variable] ?? ''
  if (key === '') return null // PocketBase leaves the settings in the clear then; an encrypted row is refused at open
  if (key.length !== keyLength)
    throw new ConfigError(`--encryption-env: ${variable} must hold ${keyLength} characters, got ${key.length}`)
  return key
}
