// Tenants: `s/t/<id>` in RocksDB. A deleted tenant leaves its row as a tombstone, for ids are never used again.

import { ackModes, type TenantLimits, type TenantSpec, type TenantStatus } from '../../ipc/messages/tenant.ts'
import type { Slug, TenantId } from '../../lib/brand.ts'
import { branded, type Codec, list, mapOf, nullable, oneOf, struct, text, varint, versioned } from '../binary.ts'

export interface Superuser {
  readonly email: string
  /** bcrypt, as the tenant stores it. */
  readonly passwordHash: string
}

export interface Tenant extends Omit<TenantSpec, 'keepEveryMs' | 'isHandedOver' | 'region' | 'isKeptWarm'> {
  /** The cluster user who owns it; null: made by an admin. */
  readonly owner: string | null
  readonly region: string | null
  readonly metadata: Readonly<Record<string, string>>
  readonly updatedAtMs: number
  /** Kept until the tenant is active, so that a crash in between does not lose it. */
  readonly pendingSuperuser: Superuser | null
}

export const tenantStatuses = [
  'created',
  'active',
  'suspended',
  'archived',
  'deleted',
] as const satisfies TenantStatus[]
export const outageModes = ['spool', 'refuse'] as const

export const limitsCodec: Codec<TenantLimits> = struct<TenantLimits>({
  storageBytesMax: nullable(varint),
  apiRequestsPerDayMax: nullable(varint),
  realtimeConnectionsMax: nullable(varint),
  queryMsMax: varint,
})

export const superuserCodec: Codec<Superuser> = struct<Superuser>({ email: text, passwordHash: text })

export const tenantCodec: Codec<Tenant> = struct<Tenant>({
  id: branded<TenantId>(),
  slug: branded<Slug>(),
  domains: list(text),
  status: oneOf(tenantStatuses),
  owner: nullable(text),
  plan: text,
  region: nullable(text),
  ackMode: oneOf(ackModes),
  lossBoundMs: varint,
  onStoreOutage: oneOf(outageModes),
  limits: limitsCodec,
  metadata: mapOf(text),
  createdAtMs: varint,
  updatedAtMs: varint,
  pendingSuperuser: nullable(superuserCodec),
})

export const tenantRows = versioned(1, tenantCodec)

/** What others are told. */
export function specOf(tenant: Tenant): TenantSpec {
  const { id, slug, domains, status, plan, ackMode, lossBoundMs, onStoreOutage, limits, createdAtMs } = tenant
  return { id, slug, domains, status, plan, ackMode, lossBoundMs, onStoreOutage, limits, createdAtMs }
}
