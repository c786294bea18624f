// `t/{tenantId}/manifest.json`: who a tenant is, beside its histories, so that a fleet that lost its control plane can
// adopt it again. A cache of facts, never the truth about what is stored.

import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import type { TenantId } from '../../lib/brand.ts'
import { utf8 } from '../../lib/bytes.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'

export const manifestVersion = 1

/** Everything of a tenant lies below this; no slash at its end. */
export function tenantPrefix(objectPrefix: string, id: TenantId): string {
  return objectPrefix === '' ? `t/${id}` : `${objectPrefix}/t/${id}`
}

/** Overwrites the identity; the last writer wins, and only owners write. */
export async function writeManifest(
  store: ObjectStore,
  options: { readonly objectPrefix: string; readonly tenant: TenantSpec; readonly updatedAtMs: number },
): Promise<void> {
  const { objectPrefix, tenant, updatedAtMs } = options
  const body = utf8(JSON.stringify({ version: manifestVersion, updatedAtMs, tenant }))
  await store.put(`${tenantPrefix(objectPrefix, tenant.id)}/manifest.json`, body, { contentType: 'application/json' })
}
