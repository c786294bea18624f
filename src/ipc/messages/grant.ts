// A grant lets its bearer do one platform operation on one tenant for a few minutes: the control plane, which knows the
// cluster admins, signs it; the engine worker, which knows none, checks it. So large imports and exports stream straight
// to the worker, and no admin token ever reaches a tenant's host.
//
//   authorization: Grant v1.<base64url of JSON>.<base64url of HMAC-SHA256 over "v1.<payload>">

import { timingSafeEqual } from 'node:crypto'
import { isTenantId, type TenantId } from '../../lib/brand.ts'
import { hmacSha256 } from '../../lib/crypto/hmac.ts'
import { err, ok, type Result } from '../../lib/result.ts'
import { type ClusterSecrets, deriveKey } from '../keys.ts'

export const grantScheme = 'Grant '
/** Where a worker takes them. */
export const platformImportPath = '/api/platform/import'
export const platformExportPath = '/api/platform/export'
export const platformSuperusersPath = '/api/platform/superusers'
/** Bytes of the whole archive: a streamed answer has no content-length. */
export const exportSizeHeader = 'x-export-size'

/** Time to start the operation; one that has begun may take longer. */
export const grantLifetimeMs = 10 * 60_000
const grantLengthMax = 1_024

export const grantActions = ['import', 'export', 'superusers'] as const
export type GrantAction = (typeof grantActions)[number]

export interface Grant {
  readonly tenantId: TenantId
  readonly action: GrantAction
  /** The admin it was issued to, for the log. */
  readonly admin: string
  /** Wall clock, ms. */
  readonly expiresAtMs: number
}

export type GrantFailure = 'malformed' | 'forged' | 'expired'

const label = 'grant/v1'

/** The value after `Grant `. */
export function signGrant(secrets: ClusterSecrets, grant: Grant): string {
  const signed = `v1.${Buffer.from(JSON.stringify(grant)).toString('base64url')}`
  return `${signed}.${mac(secrets.current, signed).toString('base64url')}`
}

/** Checks the signature before the content. Never throws. */
export function verifyGrant(secrets: ClusterSecrets, text: string, nowMs: number): Result<Grant, GrantFailure> {
  const match = text.length <= grantLengthMax ? /^(v1\.([\w-]+))\.([\w-]+)$/.exec(text) : null
  if (match === null) return err('malformed')
  const claimed = Buffer.from(match[3]!, 'base64url')
  const valid = secrets.previous === null ? [secrets.current] : [secrets.current, secrets.previous]
  const isOurs = valid.some((secret) => {
    const expected = mac(secret, match[1]!)
    return expected.length === claimed.length && timingSafeEqual(expected, claimed)
  })
  if (!isOurs) return err('forged')
  const { tenantId, action, admin, expiresAtMs } = JSON.parse(Buffer.from(match[2]!, 'base64url').toString()) as Record<
    string,
    unknown
  >
  if (typeof tenantId !== 'string' || !isTenantId(tenantId) || typeof admin !== 'string') return err('malformed')
  const known = grantActions.find((each) => each === action)
  if (known === undefined || typeof expiresAtMs !== 'number') return err('malformed')
  return expiresAtMs <= nowMs ? err('expired') : ok({ tenantId, action: known, admin, expiresAtMs })
}

function mac(secret: string, text: string): Buffer {
  return hmacSha256(deriveKey(secret, label), text)
}
