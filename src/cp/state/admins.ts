// Cluster admins: `s/a/<id>`. A token is looked up by its first characters and compared by its hash.

import { createHash, timingSafeEqual } from 'node:crypto'
import { bytes, type Codec, list, struct, text, varint, versioned } from '../binary.ts'

export interface Admin {
  readonly id: string
  readonly name: string
  readonly email: string
  /** The first characters of the secret part; unique. */
  readonly tokenPrefix: string
  /** SHA-256 of the whole token: 190 random bits need no slow hash. */
  readonly tokenHash: Uint8Array
  /** `*` or names. */
  readonly permissions: readonly string[]
  readonly createdAtMs: number
}

export const adminCodec: Codec<Admin> = struct<Admin>({
  id: text,
  name: text,
  email: text,
  tokenPrefix: text,
  tokenHash: bytes,
  permissions: list(text),
  createdAtMs: varint,
})

export const adminRows = versioned(1, adminCodec)

const tokenPattern = /^admin_([A-Za-z0-9]{32})$/
export const tokenPrefixLength = 8

/** The lookup key of a well-formed token, else null. */
export function tokenPrefixOf(token: string): string | null {
  return tokenPattern.exec(token)?.[1]?.slice(0, tokenPrefixLength) ?? null
}

export function hashToken(token: string): Uint8Array {
  return new Uint8Array(createHash('sha256').update(token).digest())
}

/** Compares in constant time, and takes as long when there is no such admin. */
export function tokenMatches(token: string, admin: Admin | undefined): boolean {
  const expected = admin?.tokenHash ?? new Uint8Array(32)
  const isEqual = timingSafeEqual(hashToken(token), expected)
  return isEqual && admin !== undefined
}
