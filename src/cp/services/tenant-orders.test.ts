// Goal: an owner that did not hear of a change is told again, one that does not answer keeps nobody else from hearing, and
// nobody waits for it. Method: the service over real state and nodes that a test plays.

import { expect, test } from 'bun:test'
import { registerNode, tenantIdOf, tenantRow } from '../../../test/support/cluster-rows.ts'
import { playedOrders } from '../../../test/support/played-orders.ts'
import type { NodeId } from '../../lib/brand.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { defaultTimings } from '../config.ts'
import { apply } from '../state/apply.ts'
import type { Command } from '../state/command.ts'
import { ClusterState, StateBatch } from '../state/state.ts'
import type { NodeState } from './health/failure-detector.ts'
import { TenantOrders } from './tenant-orders.ts'

function setUp() {
  const state = new ClusterState()
  const run = (command: Command) => expect(apply(state, new StateBatch(state), command).ok).toBe(true)
  const told: string[] = []
  const deaf = new Set<NodeId>()
  const states = new Map<NodeId, NodeState>()
  const orders = playedOrders((at, order) => {
    if (order.type !== 'tenant.update') throw new Error('another order')
    told.push(`${order.tenant.slug} ${at}`)
    if (deaf.has(at)) throw new Error('it does not answer')
    return { ok: true }
  })
  const nodes = { stateOf: (id: NodeId) => states.get(id) ?? 'healthy' }
  const service = new TenantOrders({ state, orders, nodes, timings: defaultTimings, log })
  const [a, b] = ['a' as NodeId, 'b' as NodeId]
  for (const id of [a, b]) run(registerNode(id))
  for (const [at, nodeId] of [a, a, b].entries())
    run({ type: 'tenant.create', tenant: tenantRow(at, 1), nodeId, worker: 0 })
  /** All that is told from now on. */
  const again = async () => {
    told.length = 0
    service.tellAgain()
    for (let turn = 0; turn < 100; turn++) await Promise.resolve()
    return [...told]
  }
  return { run, told, deaf, states, service, again, a, b }
}

test('told again until it hears; a silent node is asked once a look, and the others hear', async () => {
  const { told, deaf, service, again, a, b } = setUp()
  expect(await again()).toEqual([])
  for (const node of [a, b]) deaf.add(node)
  for (const at of [0, 1, 2]) await service.tell(tenantIdOf(at))
  expect(told).toEqual(['t0 a', 't1 a', 't2 b'])
  deaf.delete(b)
  expect((await again()).sort()).toEqual(['t0 a', 't2 b'])
  deaf.delete(a)
  expect((await again()).sort()).toEqual(['t0 a', 't1 a'])
  expect(await again()).toEqual([])
})

test('an owner that is down is told when it is back, and nobody of a tenant that was deleted', async () => {
  const { run, told, states, service, again, a } = setUp()
  states.set(a, 'down')
  for (const at of [0, 1]) await service.tell(tenantIdOf(at))
  expect(await again()).toEqual([])
  expect(told).toEqual([])
  run({ type: 'tenant.delete', id: tenantIdOf(0), atMs: 2 })
  states.set(a, 'healthy')
  expect(await again()).toEqual(['t1 a'])
  states.set(a, 'down')
  await service.tell(tenantIdOf(1))
  await service.close()
  states.set(a, 'healthy')
  expect(await again()).toEqual([])
})
