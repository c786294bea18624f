// Goal: a restore never begins at an owner whose standbys were not asked, whoever that is by then: what they alone hold
// belongs into the history, so that the restore can be undone to it. Method: the service on a simulated clock, over real state and
// nodes that note what they are told.

import { expect, test } from 'bun:test'
import { registerNode, tenantIdOf, tenantRow } from '../../../test/support/cluster-rows.ts'
import { playedOrders } from '../../../test/support/played-orders.ts'
import type { Epoch, NodeId, Txid } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { defaultTimings } from '../config.ts'
import { apply } from '../state/apply.ts'
import type { Command } from '../state/command.ts'
import { ClusterState, StateBatch } from '../state/state.ts'
import { AuditLog } from './audit.ts'
import { OperationService } from './operations.ts'
import { PlannedChanges } from './placement/planned-changes.ts'
import { StandbyKeeper } from './placement/standby-keeper.ts'
import { Transit } from './placement/transit.ts'
import { TenantOrders } from './tenant-orders.ts'

const id = tenantIdOf(1)
const node = (name: string) => name as NodeId

function setUp(ackMode: 'async' | 'quorum') {
  const clock = new SimClock()
  const state = new ClusterState()
  const run = (command: Command) => {
    const outcome = apply(state, new StateBatch(state), command)
    if (!outcome.ok) throw new Error(`${command.type}: ${outcome.error}`)
    return outcome
  }
  const place = (to: string, epoch: number) =>
    run({
      type: 'tenant.place',
      id,
      nodeId: node(to),
      worker: 0,
      expected: epoch as Epoch,
      seen: epoch as Epoch,
      standbys: ackMode === 'quorum' ? [node('c')] : [],
      forget: false,
    })
  const told: string[] = []
  const control = { onJob: () => {}, standbysAnswer: true }
  const orders = playedOrders((at, order) => {
    if (order.type === 'tenant.open') {
      told.push(`open ${at} ${order.epoch}`)
      if (!control.standbysAnswer) throw new Error('standbys do not answer')
      return { opened: true }
    }
    if (order.type !== 'job.run' || order.job.type !== 'restore') throw new Error('another order')
    told.push(`restore ${at} ${order.job.placement.epoch}`)
    const { epoch } = order.job.placement
    control.onJob()
    if (state.placements.get(id)!.epoch !== epoch) throw new Error('the node is gone')
    return { state: 'done', report: { cut: order.job.cut, dataTxid: 9 as Txid, filesReleased: 0 } }
  })
  const propose = async (command: Command) => run(command)
  const nodes = {
    stateOf: () => 'healthy' as const,
    isDraining: () => false,
    candidates: () => [],
    view: () => null,
  }
  const tenantOrders = new TenantOrders({ state, orders, nodes, timings: defaultTimings, log })
  const transit = new Transit(() => {})
  const changes = new PlannedChanges({ state, propose, tenantOrders, transit, clock, log })
  const standbys = new StandbyKeeper({ state, propose, nodes, tenantOrders, transit, changes, log })
  const audit = new AuditLog({ state, propose, clock })
  const service = new OperationService({ state, propose, orders, nodes, standbys, audit, clock, log })
  for (const name of ['a', 'b', 'c']) run(registerNode(node(name)))
  run({ type: 'tenant.create', tenant: { ...tenantRow(1, clock.now()), ackMode }, nodeId: node('a'), worker: 0 })
  run({ type: 'tenant.activate', id, atMs: clock.now() })
  place('a', 1)
  const cut = { atMs: 1, data: 3 as Txid, hooks: 1 as Txid, auxiliary: 1 as Txid }
  const operation = { type: 'restore', id: 'op', tenantId: id, cut, atMs: clock.now() } as const
  const begin = () => {
    run({ type: 'operation.begin', operation })
    service.carryOut(operation)
  }
  /** Time passes until it is so. */
  const pass = async (what: string, isSo: () => boolean) => {
    for (let waited = 0; !isSo(); waited++) {
      if (waited === 1_000) throw new Error(`waited in vain for ${what}`)
      await clock.advance(100)
    }
  }
  const ended = () => pass('the restore to end', () => service.get(id, 'op')?.state === 'done')
  return { service, told, control, place, begin, pass, ended }
}

test('standbys are asked first, and again when the tenant gets another owner in between', async () => {
  const { service, told, control, place, begin, ended } = setUp('quorum')
  control.onJob = () => {
    control.onJob = () => {}
    place('b', 2) // its owner died; what it had acknowledged since is at the standby alone
  }
  begin()
  await ended()
  expect(told).toEqual(['open a 2', 'restore a 2', 'open b 3', 'restore b 3'])
  await service.close()
})

test('while standbys do not answer nothing is restored', async () => {
  const { service, told, control, begin, pass, ended } = setUp('quorum')
  control.standbysAnswer = false
  begin()
  await pass('two attempts', () => told.length >= 2)
  expect(new Set(told)).toEqual(new Set(['open a 2']))
  control.standbysAnswer = true
  await ended()
  expect(told.at(-1)).toBe('restore a 2')
  await service.close()
})

test('a tenant without standbys is not opened for it', async () => {
  const { service, told, begin, ended } = setUp('async')
  begin()
  await ended()
  expect(told).toEqual(['restore a 2'])
  await service.close()
})
