// A tenant as nodes are told about it: its row, and what stands beside the row.

import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import type { StateReader } from '../state/state.ts'
import { specOf, type Tenant } from '../state/tenants.ts'

export function toldTenant({ retentions }: Pick<StateReader, 'retentions'>, tenant: Tenant): TenantSpec {
  const retention = retentions.get(tenant.id)
  return retention === undefined ? specOf(tenant) : { ...specOf(tenant), keepEveryMs: retention.keepEveryMs }
}
