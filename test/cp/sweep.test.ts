// Goal: leftovers go in two phases, after the time in which a tenant may be wanted back, and at no time otherwise; a crash
// between any two steps goes on; a tenant that is taken back, or re-created under its name, keeps everything. Method: the
// service on a simulated clock over real state, with the node's own job on a store in memory.

import { expect, test } from 'bun:test'
import { defaultSweepPolicy } from '../../src/cp/config.ts'
import { AuditLog } from '../../src/cp/services/audit.ts'
import { SweepService } from '../../src/cp/services/sweep.ts'
import { apply } from '../../src/cp/state/apply.ts'
import { type Command, commands } from '../../src/cp/state/command.ts'
import { ClusterState, StateBatch } from '../../src/cp/state/state.ts'
import type { Cut } from '../../src/ipc/messages/jobs.ts'
import type { Epoch, NodeId, Slug, TenantId } from '../../src/lib/brand.ts'
import { utf8 } from '../../src/lib/bytes.ts'
import { SimClock } from '../../src/lib/clock.ts'
import { errorCode, errorMessage } from '../../src/lib/errors.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { Metrics } from '../../src/lib/obs/metrics.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { sweepTenant } from '../../src/node/tenants/sweep.ts'
import { registerNode, tenantIdOf, tenantRow } from '../support/cluster-rows.ts'
import { candidate, playedOrders } from '../support/played-orders.ts'
import { until } from '../support/wait.ts'

const dayMs = 86_400_000
const nodeId = 'n1' as NodeId
const id = tenantIdOf(1)
/** Nobody's decision that is taken here reaches the log. */
class Crash extends Error {}

function setUp() {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  const state = new ClusterState()
  const run = (command: Command) => {
    const outcome = apply(state, new StateBatch(state), commands.decode(commands.encode(command)))
    return outcome.ok ? 'ok' : outcome.error
  }
  const control = { crashAfter: Number.POSITIVE_INFINITY, steps: 0, nodesAlive: 1, onJob: async (_: TenantId) => {} }
  /** A crash of the control plane between any two things that it does. */
  const step = () => {
    if (++control.steps > control.crashAfter) throw new Crash('the control plane is gone')
  }
  const rng = seededRng(1)
  const orders = playedOrders(async (_, order) => {
    if (order.type !== 'job.run' || order.job.type !== 'sweep') throw new Error('another order')
    const signal = new AbortController().signal
    const context = { store, objectPrefix: '', clock, rng, scratchDir: '/nowhere', signal, report: () => {} }
    try {
      await control.onJob(order.tenantId)
      return { state: 'done', report: await sweepTenant(order.tenantId, order.job, context) }
    } catch (error) {
      return { state: 'failed', code: errorCode(error) ?? 'internal', message: errorMessage(error) }
    }
  })
  const metrics = new Metrics()
  const counter = (name: string) => metrics.counter({ name: `${name}_total`, help: 'For the test.' })
  const counters = {
    objectsDeleted: counter('objects'),
    bytesDeleted: counter('bytes'),
    uploadsEnded: counter('uploads'),
    kept: counter('kept'),
  }
  const propose = async (command: Command, audit: unknown = null) => {
    step()
    const recorded =
      audit === null ? command : ({ type: 'audited', audit, command: commands.encode(command) } as Command)
    const outcome = apply(state, new StateBatch(state), commands.decode(commands.encode(recorded)))
    step()
    return outcome
  }
  /** A new process over what the log says. */
  const open = () =>
    new SweepService({
      state,
      propose,
      orders,
      nodes: { candidates: () => [candidate(nodeId)].slice(0, control.nodesAlive) },
      audit: new AuditLog({ state, propose, clock }),
      store,
      objectPrefix: '',
      clock,
      rng,
      log,
      policy: defaultSweepPolicy,
      isLeader: () => true,
      ...counters,
    })
  const round = async (service: SweepService, isDryRun = false) => {
    service.begin(isDryRun)
    await until('the round to end', () => service.last!.endedAtMs !== null)
    return service.last!.steps
  }
  run(registerNode(nodeId))
  const make = (at: number, slug = `t${at}`) => {
    const tenant = { ...tenantRow(at, clock.now()), slug: slug as Slug }
    expect(run({ type: 'tenant.create', tenant, nodeId, worker: 0 })).toBe('ok')
    run({ type: 'tenant.activate', id: tenant.id, atMs: clock.now() })
    return tenant
  }
  const put = (of: TenantId, name: string) => store.put(`t/${of}/${name}`, utf8('x'))
  const remove = (of: TenantId) => {
    run({ type: 'tenant.delete', id: of, atMs: clock.now() })
    run({ type: 'placement.remove', id: of })
  }
  const phase = (of = id) => state.sweeps.get(of)?.phase
  return { clock, store, state, run, open, round, make, put, remove, phase, control, metrics }
}

test('released, named after the grace time, deleted a day later; the log says what and when', async () => {
  const { clock, store, state, open, round, make, put, remove, phase, metrics } = setUp()
  make(1)
  make(2)
  for (const of of [id, tenantIdOf(2)]) for (const name of ['manifest.json', 'files/a/b/c']) await put(of, name)
  const service = open()
  await clock.advance(60 * dayMs)
  expect(await round(service)).toEqual([]) // who is served is never looked at
  remove(id)
  expect(phase()).toBe('released')
  await clock.advance(defaultSweepPolicy.graceMs! - 1)
  expect(await round(service)).toEqual([])
  await clock.advance(1)
  expect(await round(service, true)).toMatchObject([{ does: 'name', objects: 2 }])
  expect(phase()).toBe('released') // a dry run decides nothing
  expect(await round(service)).toMatchObject([{ does: 'name', objects: 2 }])
  expect(service.leftovers()).toMatchObject([{ phase: 'named', objects: 2, dueAtMs: clock.now() + dayMs }])
  await clock.advance(dayMs - 1)
  expect(await round(service)).toEqual([])
  await clock.advance(1)
  expect(await round(service, true)).toMatchObject([{ does: 'delete', objects: 2 }])
  expect(store.keys.length).toBe(4)
  expect(await round(service)).toMatchObject([{ does: 'delete', objects: 2 }])
  expect(store.keys).toEqual([`t/${tenantIdOf(2)}/files/a/b/c`, `t/${tenantIdOf(2)}/manifest.json`])
  expect(phase()).toBe('swept')
  expect(service.leftovers()).toEqual([])
  const requests = store.requestCount
  await clock.advance(100 * dayMs)
  expect(await round(service)).toEqual([])
  expect(store.requestCount).toBe(requests) // what is gone costs nothing
  expect([...state.audit.newestFirst()]).toMatchObject([
    { action: 'sweep.delete', actor: 'system', target: id, details: { objects: '2' } },
  ])
  expect(await metrics.render()).toContain('objects_total 2')
})

test('a crash after any step: the next process goes on, and everything happens once', async () => {
  for (let crashAfter = 0; ; crashAfter++) {
    const { clock, store, state, open, round, make, put, remove, phase, control } = setUp()
    make(1)
    await put(id, 'manifest.json')
    await put(id, 'files/a')
    remove(id)
    control.crashAfter = crashAfter
    await clock.advance(defaultSweepPolicy.graceMs!)
    await round(open())
    await clock.advance(dayMs)
    await round(open())
    const isCrashed = control.steps > crashAfter
    if (phase() !== 'deleting' && phase() !== 'swept') expect(store.keys.length).toBe(2)
    control.crashAfter = Number.POSITIVE_INFINITY
    for (let attempt = 0; attempt < 3; attempt++) {
      await round(open())
      await clock.advance(dayMs)
    }
    expect(store.keys).toEqual([])
    expect(phase()).toBe('swept')
    expect(state.audit.count).toBe(1)
    if (!isCrashed) {
      expect(crashAfter).toBeGreaterThan(4)
      return
    }
  }
})

test('what was handed over stays for good; without a node nothing is done, and the next round looks again', async () => {
  const { clock, store, run, open, round, make, put, remove, phase, control } = setUp()
  make(1)
  make(2)
  for (const of of [id, tenantIdOf(2)]) await put(of, 'manifest.json')
  const none = { slug: null, domains: null, plan: null, ackMode: null, limits: null, metadata: null, atMs: 3 } as const
  run({ type: 'tenant.update', id, status: 'suspended', ...none })
  expect(run({ type: 'tenant.hand-over', id, atMs: clock.now() })).toBe('ok')
  for (const of of [id, tenantIdOf(2)]) remove(of)
  const service = open()
  expect(service.leftovers()).toMatchObject([{ tenantId: tenantIdOf(2) }, { tenantId: id, dueAtMs: null }])
  await clock.advance(defaultSweepPolicy.graceMs!)
  control.nodesAlive = 0
  expect(await round(service)).toEqual([])
  control.nodesAlive = 1
  await round(service)
  await clock.advance(100 * dayMs)
  await round(service)
  expect(store.keys).toEqual([`t/${id}/manifest.json`])
  expect(phase()).toBe('released')
})

test('a tenant made under the same name is another one', async () => {
  const { clock, store, open, round, make, put, remove } = setUp()
  make(1, 'shop')
  await put(id, 'manifest.json')
  remove(id)
  make(2, 'shop')
  await put(tenantIdOf(2), 'manifest.json')
  const service = open()
  await clock.advance(defaultSweepPolicy.graceMs!)
  await round(service)
  await clock.advance(dayMs)
  await round(service)
  expect(store.keys).toEqual([`t/${tenantIdOf(2)}/manifest.json`])
})

test('wanted back until its deletion is decided, not after', async () => {
  const { clock, store, state, run, open, round, make, put, remove, phase, control } = setUp()
  const tenant = make(1)
  await put(id, 'manifest.json')
  remove(id)
  const adopt = () =>
    run({ type: 'tenant.adopt', tenant: { ...tenant, status: 'active' }, nodeId, worker: 0, epoch: 9 as Epoch })
  const service = open()
  await clock.advance(defaultSweepPolicy.graceMs!)
  await round(service)
  await clock.advance(dayMs)
  // In the middle of the last look before the decision.
  control.onJob = async () => void adopt()
  await round(service)
  control.onJob = async () => {}
  expect(store.keys.length).toBe(1)
  expect(phase()).toBeUndefined()
  expect(state.tenants.get(id)?.status).toBe('active')
  await clock.advance(100 * dayMs)
  expect(await round(service)).toEqual([])

  remove(id)
  await clock.advance(defaultSweepPolicy.graceMs!)
  await round(service)
  await clock.advance(dayMs)
  await round(service)
  expect(phase()).toBe('swept')
  expect(adopt()).toBe('id_taken')
})

test('what somebody else writes to stays, however long ago it was deleted here', async () => {
  const { clock, store, open, round, make, put, remove, phase, metrics } = setUp()
  make(1)
  await put(id, 'manifest.json')
  remove(id)
  const service = open()
  await clock.advance(defaultSweepPolicy.graceMs!)
  await round(service)
  await put(id, 'files/new') // by a fleet that took it over
  await clock.advance(dayMs)
  expect(await round(service)).toMatchObject([{ does: 'kept' }])
  expect(store.keys.length).toBe(2)
  expect(phase()).toBe('released')
  expect(await metrics.render()).toContain('kept_total 1')
})

test('a fork under way keeps its source; a node that has not let go keeps it too', async () => {
  const { clock, store, state, run, open, round, make, put, phase } = setUp()
  make(1)
  await put(id, 'manifest.json')
  run({ type: 'tenant.delete', id, atMs: clock.now() })
  const service = open()
  await clock.advance(100 * dayMs)
  expect(await round(service)).toEqual([])
  run({ type: 'placement.remove', id })
  await round(service)
  expect(phase()).toBe('named')
  const cut = { atMs: 1, data: 1, hooks: 1, auxiliary: 1 } as Cut
  const fork = tenantRow(3, clock.now())
  const operation = { type: 'fork', id: 'op', tenantId: fork.id, source: id, cut, atMs: 1 } as const
  run({ type: 'tenant.fork', tenant: fork, nodeId, worker: 0, operation })
  await clock.advance(dayMs)
  await round(service)
  expect(store.keys.length).toBe(1)
  run({ type: 'tenant.activate', id: fork.id, atMs: clock.now() })
  await round(service)
  expect(store.keys).toEqual([])
  expect(state.tenants.get(fork.id)?.status).toBe('active')
})

test('paths of earlier epochs of a tenant that is served', async () => {
  const { clock, store, run, open, round, make, put, phase } = setUp()
  make(1)
  run({ type: 'replica.begin', id, epoch: 0 })
  for (const name of ['data.db/0000/1.ltx', 'manifest.json']) await put(id, name)
  run({
    type: 'tenant.place',
    id,
    nodeId,
    worker: 0,
    expected: 1 as Epoch,
    seen: 1 as Epoch,
    standbys: [],
    forget: true,
  })
  run({ type: 'replica.move', id, epoch: 2 as Epoch })
  await put(id, 'data.db/e2/0000/1.ltx')
  const service = open()
  expect(await round(service)).toMatchObject([{ does: 'nothing left' }])
  expect(phase()).toBeUndefined()
  await clock.advance(defaultSweepPolicy.graceMs!)
  // A dry run changes nothing, not even when the next round looks.
  expect(await round(service, true)).toMatchObject([{ does: 'name', objects: 1 }])
  expect(await round(service)).toMatchObject([{ does: 'name', objects: 1 }])
  await clock.advance(dayMs)
  expect(await round(service)).toMatchObject([{ does: 'delete', objects: 1 }])
  expect(store.keys).toEqual([`t/${id}/data.db/e2/0000/1.ltx`, `t/${id}/manifest.json`])
  await clock.advance(100 * dayMs)
  const requests = store.requestCount
  expect(await round(service)).toEqual([])
  expect(store.requestCount).toBe(requests)
})

test('tenants whose sweep always fails hold up nobody, and come to their turn again', async () => {
  const { clock, open, round, make, put, remove, phase, control } = setUp()
  const [failing, healthy] = [200, 5] // a round takes 200
  for (let at = 1; at <= failing + healthy; at++) {
    await put(make(at).id, 'manifest.json')
    remove(tenantIdOf(at))
  }
  await clock.advance(38 * dayMs)
  const asked: TenantId[] = []
  let isHealed = false
  control.onJob = async (of) => {
    asked.push(of)
    if (!isHealed && Number(of.slice(6)) <= failing) throw new Error('its listing always fails')
  }
  const service = open()
  expect(await round(service)).toEqual([])
  const others = Array.from({ length: healthy }, (_, at) => tenantIdOf(failing + 1 + at))
  expect(others.map((of) => phase(of))).toEqual(others.map(() => 'released'))
  const first = asked.splice(0)
  await round(service)
  expect(others.map((of) => phase(of))).toEqual(others.map(() => 'named'))
  expect(asked.slice(0, healthy)).toEqual(others)
  isHealed = true
  asked.length = 0
  await round(service)
  expect(asked).toHaveLength(failing)
  expect(asked.slice(0, healthy)).toEqual(first.slice(-healthy)) // for whom the round before had no room
  for (let at = 1; at <= failing; at++) expect(phase(tenantIdOf(at))).toBe('named')
})
