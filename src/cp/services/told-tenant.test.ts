// Goal: what stands beside a tenant's row reaches its node, and only where it is there: older nodes know no such fields.

import { expect, test } from 'bun:test'
import { registerNode, tenantIdOf, tenantRow } from '../../../test/support/cluster-rows.ts'
import type { NodeId } from '../../lib/brand.ts'
import { apply } from '../state/apply.ts'
import type { Command } from '../state/command.ts'
import { ClusterState, StateBatch } from '../state/state.ts'
import { toldTenant } from './told-tenant.ts'

test('retention, hand-over, region and a warm standby', () => {
  const state = new ClusterState()
  const id = tenantIdOf(1)
  const run = (command: Command) => {
    const batch = new StateBatch(state)
    expect(apply(state, batch, command).ok).toBe(true)
    return [...batch.changes.tenants]
  }
  const told = () => toldTenant(state, state.tenants.get(id)!)
  run(registerNode('n1' as NodeId))
  run({ type: 'tenant.create', tenant: tenantRow(1, 1), nodeId: 'n1' as NodeId, worker: 0 })
  run({ type: 'tenant.activate', id, atMs: 2 })
  expect(Object.keys(told())).not.toContain('isHandedOver')
  expect(Object.keys(told())).not.toContain('keepEveryMs')
  for (const key of ['region', 'isKeptWarm']) expect(Object.keys(told())).not.toContain(key)
  run({ type: 'tenant.warm', id, warm: { place: null } })
  expect(told()).toMatchObject({ isKeptWarm: true })
  expect(toldTenant(state, { ...state.tenants.get(id)!, region: 'eu' })).toMatchObject({ region: 'eu' })
  run({ type: 'tenant.retention', id, keepEveryMs: 3_600_000 })
  const none = { slug: null, domains: null, plan: null, ackMode: null, limits: null, metadata: null, atMs: 3 } as const
  run({ type: 'tenant.update', id, status: 'suspended', ...none })
  expect(run({ type: 'tenant.hand-over', id, atMs: 4 })).toEqual([id]) // gateways are told
  expect(told()).toMatchObject({ isHandedOver: true, keepEveryMs: 3_600_000 })
  expect(run({ type: 'tenant.take-back', id, atMs: 5 })).toEqual([id])
  expect(Object.keys(told())).not.toContain('isHandedOver')
})
