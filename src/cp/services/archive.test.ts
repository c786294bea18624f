// Goal: only who is not used becomes cheap, step by step and in time; what was interrupted is gone on with; who comes back in
// between is left alone. Method: the service on a simulated clock, over real state and a node that plays along.

import { expect, test } from 'bun:test'
import { registerNode, tenantIdOf, tenantRow } from '../../../test/support/cluster-rows.ts'
import { playedOrders } from '../../../test/support/played-orders.ts'
import type { NodeId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { AppError } from '../../lib/errors.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { Metrics } from '../../lib/obs/metrics.ts'
import { seededRng } from '../../lib/rng.ts'
import { apply } from '../state/apply.ts'
import type { Command } from '../state/command.ts'
import { ClusterState, StateBatch } from '../state/state.ts'
import { ArchiveService } from './archive.ts'
import { AuditLog } from './audit.ts'

const dayMs = 86_400_000

class InUse extends AppError {
  readonly code = 'tenant_in_use'
}

function setUp(tenants: number) {
  const clock = new SimClock()
  const state = new ClusterState()
  const run = (command: Command) => apply(state, new StateBatch(state), command)
  const nodeId = 'n1' as NodeId
  run(registerNode(nodeId))
  for (let at = 0; at < tenants; at++) {
    const tenant = tenantRow(at, clock.now())
    run({ type: 'tenant.create', tenant, nodeId, worker: 0 })
    run({ type: 'tenant.activate', id: tenant.id, atMs: clock.now() })
  }
  const jobs: string[] = []
  const control = { failure: null as Error | null, onJob: () => {} }
  const orders = playedOrders((_, order) => {
    if (order.type === 'tenant.update') return { ok: true }
    if (order.type === 'tenant.open') return { opened: true }
    if (order.type !== 'job.run') throw new Error('another order')
    if (order.job.type !== 'archive') throw new Error('another job')
    jobs.push(`${state.tenants.get(order.tenantId)!.slug} ${order.job.stage} ${order.job.storageClass}`)
    control.onJob()
    if (control.failure instanceof InUse) return { state: 'failed', code: 'tenant_in_use', message: 'open' }
    if (control.failure !== null) throw control.failure
    return { state: 'done', report: { objectsMoved: 0, bytesMoved: 0, filesDeleted: 0 } }
  })
  const metrics = new Metrics()
  const service = new ArchiveService({
    state,
    propose: async (command) => run(command),
    orders,
    nodes: { stateOf: () => 'healthy', candidates: () => [] },
    operations: {
      start: () => {
        throw new Error('nobody watches')
      },
    },
    audit: new AuditLog({ state, propose: async (command) => run(command), clock }),
    clock,
    rng: seededRng(1),
    log,
    policy: { infrequentAfterDays: 7, archiveAfterDays: 90, infrequentClass: 'IA', archiveClass: 'GIR' },
    transitions: metrics.counter({ name: 'transitions_total', help: 'For the test.', labels: ['to'] }),
    reopenSeconds: metrics.histogram({ name: 'reopen_seconds', help: 'For the test.' }),
  })
  return { clock, state, service, jobs, control }
}

test('seven days, ninety days, and nothing for who is used', async () => {
  const { clock, state, service, jobs } = setUp(2)
  await clock.advance(6 * dayMs)
  service.used(tenantIdOf(1))
  await service.sweep()
  expect(jobs).toEqual([])
  await clock.advance(1.5 * dayMs)
  await service.sweep()
  await service.sweep()
  expect(jobs).toEqual(['t0 infrequent IA'])
  expect(state.activities.get(tenantIdOf(0))).toMatchObject({ stage: 'infrequent' })
  for (let day = 0; day < 85; day++) {
    await clock.advance(dayMs)
    service.used(tenantIdOf(1))
    await service.sweep()
  }
  expect(jobs).toEqual(['t0 infrequent IA', 't0 archived GIR'])
  expect(state.tenants.get(tenantIdOf(0))?.status).toBe('archived')
  expect(state.tenants.get(tenantIdOf(1))?.status).toBe('active')

  service.used(tenantIdOf(0))
  await service.wake(tenantIdOf(0))
  expect(state.tenants.get(tenantIdOf(0))?.status).toBe('active')
  expect(state.activities.get(tenantIdOf(0))).toMatchObject({ stage: 'warm', usedAtMs: clock.now() })
  await clock.advance(8 * dayMs)
  await service.sweep()
  expect(jobs.at(-2)).toBe('t0 infrequent IA') // it starts over, as does the other one
})

test('an open tenant is used; an interrupted archiving is gone on with', async () => {
  const { clock, state, service, jobs, control } = setUp(1)
  control.failure = new InUse('open')
  await clock.advance(10 * dayMs)
  await service.sweep()
  await clock.advance(dayMs)
  await service.sweep()
  expect(jobs).toEqual(['t0 infrequent IA'])
  control.failure = null
  await clock.advance(95 * dayMs)
  control.onJob = () => {
    throw new Error('the member stops here')
  }
  const sweeping = service.sweep()
  for (let i = 0; i < 400 && jobs.length < 2; i++) await clock.advance(1_000)
  expect(state.tenants.get(tenantIdOf(0))?.status).toBe('archived')
  expect(state.activities.get(tenantIdOf(0))?.stage).not.toBe('archived')
  control.onJob = () => {}
  for (let i = 0; i < 400; i++) await clock.advance(1_000)
  await sweeping
  await service.sweep()
  expect(state.activities.get(tenantIdOf(0))?.stage).toBe('archived')
  const done = jobs.length
  await service.sweep()
  expect(jobs.length).toBe(done)
})

test('who comes back while it is archived is warm', async () => {
  const { clock, state, service, control } = setUp(1)
  await clock.advance(100 * dayMs)
  let waking: Promise<void> | null = null
  control.onJob = () => {
    waking ??= service.wake(tenantIdOf(0))
  }
  await service.sweep()
  await waking
  await service.sweep()
  expect(state.tenants.get(tenantIdOf(0))?.status).toBe('active')
  expect(state.activities.get(tenantIdOf(0))?.stage).toBe('warm')
})
