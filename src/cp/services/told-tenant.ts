// A tenant as nodes are told about it: its row, and what stands beside the row.

import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import type { StateReader } from '../state/state.ts'
import { specOf, type Tenant } from '../state/tenants.ts'

export function toldTenant(
  { retentions, handOvers, warmStandbys }: Pick<StateReader, 'retentions' | 'handOvers' | 'warmStandbys'>,
  tenant: Tenant,
): TenantSpec {
  const retention = retentions.get(tenant.id)
  return {
    ...specOf(tenant),
    ...(retention !== undefined && { keepEveryMs: retention.keepEveryMs }),
    ...(handOvers.get(tenant.id) !== undefined && { isHandedOver: true }),
    ...(tenant.region !== null && { region: tenant.region }),
    ...(warmStandbys.get(tenant.id) !== undefined && { isKeptWarm: true }),
  }
}
