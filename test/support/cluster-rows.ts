// Rows of the control plane's state for tests of its services: tenants and nodes of which nothing is special.

import { plans } from '../../src/cp/services/plans.ts'
import type { Command } from '../../src/cp/state/command.ts'
import type { Tenant } from '../../src/cp/state/tenants.ts'
import type { NodeId, Slug, TenantId } from '../../src/lib/brand.ts'

export const tenantIdOf = (at: number) => `tenant${String(at).padStart(9, '0')}` as TenantId

/** Number `at` of the tenants, just created. */
export function tenantRow(at: number, nowMs: number): Tenant {
  return {
    id: tenantIdOf(at),
    slug: `t${at}` as Slug,
    domains: [],
    status: 'created',
    owner: null,
    plan: 'small',
    region: null,
    ackMode: 'async',
    lossBoundMs: 5_000,
    onStoreOutage: 'spool',
    limits: plans['small']!,
    metadata: {},
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    pendingSuperuser: null,
  }
}

export function registerNode(id: NodeId): Command {
  return {
    type: 'node.register',
    node: {
      id,
      ipcAddress: 'tcp://127.0.0.1:1',
      region: 'local',
      zone: 'local',
      labels: {},
      tenantsMax: 1_000,
      version: '',
      featureLevel: 1,
      createdAtMs: 1,
    },
  }
}
