// Goal: a move does not begin where there is no room, and a copy that takes too long is called off; either way the tenant is
// served all along. Method: the service on a simulated clock, over real state and nodes that note what they are told.

import { expect, test } from 'bun:test'
import { registerNode, tenantIdOf, tenantRow } from '../../../../test/support/cluster-rows.ts'
import { candidate, playedOrders } from '../../../../test/support/played-orders.ts'
import { PeerUnreachableError, RemoteError } from '../../../ipc/errors.ts'
import type { Epoch, NodeId } from '../../../lib/brand.ts'
import { SimClock } from '../../../lib/clock.ts'
import { TimeoutError } from '../../../lib/errors.ts'
import { silentLogger as log } from '../../../lib/obs/log.ts'
import { seededRng } from '../../../lib/rng.ts'
import { defaultTimings } from '../../config.ts'
import { apply } from '../../state/apply.ts'
import { type Command, commands } from '../../state/command.ts'
import { ClusterState, StateBatch } from '../../state/state.ts'
import { AuditLog, systemActor } from '../audit.ts'
import type { Propose } from '../proposer.ts'
import { TenantOrders } from '../tenant-orders.ts'
import { TenantMoves } from './moves.ts'
import { PlannedChanges } from './planned-changes.ts'
import { StandbyKeeper } from './standby-keeper.ts'
import { Transit } from './transit.ts'
import { WarmKeeper } from './warm-keeper.ts'

const id = tenantIdOf(1)
const node = (name: string) => name as NodeId

function setUp() {
  const clock = new SimClock()
  const state = new ClusterState()
  const run = (command: Command) => apply(state, new StateBatch(state), commands.decode(commands.encode(command)))
  const told: string[] = []
  const full = new Set<string>()
  const control = { isSlow: false, onCopy: () => {}, onRelease: () => {}, isDead: (_: Command) => false }
  const orders = playedOrders((at, order) => {
    if (order.type !== 'job.run') {
      told.push(`${order.type} ${at}`)
      if (order.type === 'tenant.release') {
        control.onRelease()
        return { released: true }
      }
      if (order.type === 'job.stop') return { stopped: true }
      if (order.type === 'tenant.open') return { opened: true }
      throw new Error('another order')
    }
    if (control.isSlow) return { state: 'running', progress: { step: '', done: 0, total: null } }
    told.push(`copy ${at}`)
    control.onCopy()
    if (full.has(at)) return { state: 'failed', code: 'ENOSPC', message: 'no room' }
    return { state: 'done', report: { databases: [] } }
  })
  for (const name of ['a', 'b', 'c']) run(registerNode(node(name)))
  run({ type: 'tenant.create', tenant: tenantRow(1, clock.now()), nodeId: node('a'), worker: 0 })
  run({ type: 'tenant.activate', id, atMs: clock.now() })
  const nodes = {
    stateOf: () => 'healthy' as const,
    isDraining: () => false,
    candidates: () => ['b', 'c'].map((name) => candidate(node(name))),
    view: () => null,
  }
  const propose: Propose = async (command, audit = null) => {
    if (control.isDead(command)) throw new Error('the member is dead')
    return run(audit === null ? command : { type: 'audited', audit, command: commands.encode(command) })
  }
  const transit = new Transit(() => {})
  const shared = { state, propose, nodes, log, clock, transit }
  const tenantOrders = new TenantOrders({ ...shared, orders, timings: defaultTimings })
  const changes = new PlannedChanges({ ...shared, tenantOrders })
  const standbys = new StandbyKeeper({ ...shared, tenantOrders, changes })
  const warm = new WarmKeeper({ ...shared, tenantOrders })
  const audit = new AuditLog({ state, propose, clock })
  const config = { isCreateOnlyAtomic: true }
  const timings = defaultTimings
  const rng = seededRng(1)
  const moves = new TenantMoves({
    ...shared,
    orders,
    tenantOrders,
    standbys,
    warm,
    changes,
    audit,
    rng,
    timings,
    config,
  })
  const owner = () => state.placements.get(id)!.nodeId as string
  return { clock, state, run, moves, changes, told, full, control, owner }
}

test('no room at the node that was named: refused, and nothing has changed', async () => {
  const { moves, told, full, owner, state } = setUp()
  full.add('b')
  expect(await moves.migrate(id, node('b'), systemActor)).toMatchObject({ ok: false, error: 'no_room' })
  expect(told).toEqual(['copy b'])
  expect(owner()).toBe('a')
  expect(state.placements.get(id)!.epoch as number).toBe(1)
  full.clear()
  expect(await moves.migrate(id, node('b'), systemActor)).toMatchObject({ ok: true })
  expect(told).toEqual(['copy b', 'copy b', 'tenant.release a'])
  expect(owner()).toBe('b')
})

test('a node that is left finds another one that has room', async () => {
  const { clock, moves, told, full, owner, state } = setUp()
  full.add('b')
  const away = async () => moves.moveAway(state.tenants.get(id)!, state.placements.get(id)!, true)
  await away()
  expect(owner()).toBe('a')
  await away()
  expect(owner()).toBe('c')
  expect(told).toEqual(['copy b', 'copy c', 'tenant.release a'])
  full.clear()
  await away()
  expect(owner()).toBe('c') // nobody else is left: what was full is not asked again at once
  await clock.advance(60_000)
  await away()
  expect(owner()).toBe('b')
})

test('nor does it wait for its warm standby, or for one that is full when it is down itself', async () => {
  const { moves, told, full, owner, state, run } = setUp()
  run({ type: 'tenant.warm', id, warm: { place: { nodeId: node('b'), worker: 0 } } })
  full.add('b')
  const away = async (isAlive: boolean) => moves.moveAway(state.tenants.get(id)!, state.placements.get(id)!, isAlive)
  await away(true)
  await away(true)
  expect(owner()).toBe('c')
  expect(told).toEqual(['copy b', 'copy c', 'tenant.release a'])
  await away(false)
  expect(owner()).toBe('b') // whatever room it has
})

test('a node that is full for one tenant takes another', async () => {
  const { clock, moves, full, state, run } = setUp()
  run({ type: 'tenant.create', tenant: tenantRow(2, clock.now()), nodeId: node('a'), worker: 0 })
  run({ type: 'tenant.activate', id: tenantIdOf(2), atMs: clock.now() })
  full.add('b')
  await moves.moveAway(state.tenants.get(id)!, state.placements.get(id)!, true)
  full.clear()
  await moves.moveAway(state.tenants.get(tenantIdOf(2))!, state.placements.get(tenantIdOf(2))!, true)
  expect(state.placements.get(tenantIdOf(2))!.nodeId as string).toBe('b')
})

test('a node that let go for nothing serves the tenant again, under the next epoch', async () => {
  const { moves, told, owner, state, run, control } = setUp()
  const epoch = () => state.placements.get(id)!.epoch as number
  const draining = (draining: boolean) => run({ type: 'node.drain', id: node('b'), draining })
  control.onCopy = () => void draining(true)
  expect(await moves.migrate(id, node('b'), systemActor)).toMatchObject({ ok: false, error: 'node_draining' })
  expect([told.splice(0), owner(), epoch()]).toEqual([['copy b'], 'a', 1]) // found out in time
  draining(false)
  control.onCopy = () => {}
  control.onRelease = () => void draining(true)
  expect(await moves.migrate(id, node('b'), systemActor)).toMatchObject({ ok: false, error: 'node_draining' })
  expect(told).toEqual(['copy b', 'tenant.release a'])
  expect([owner(), epoch()]).toEqual(['a', 2])
  const failing = async (cause: unknown) => {
    control.onRelease = () => {
      throw cause
    }
    await expect(moves.migrate(id, node('c'), systemActor)).rejects.toThrow('did not let go')
    return [owner(), epoch()]
  }
  expect(await failing(new TimeoutError('no answer, but perhaps it did'))).toEqual(['a', 3])
  // It said that it did not, or never heard of it.
  expect(await failing(new RemoteError('tail_not_shipped', 'not yet', null))).toEqual(['a', 3])
  expect(await failing(new PeerUnreachableError('nobody is there', 'no'))).toEqual(['a', 3])
  expect(await failing(new PeerUnreachableError('it went away', 'unknown'))).toEqual(['a', 4])
})

test('a member that dies once the owner let go finishes after its restart what was decided, and whose wish it was', async () => {
  const { moves, changes, told, owner, state, control } = setUp()
  const placed = () => state.placements.get(id)!
  const admin = { id: 'a1', name: 'ada', from: '192.0.2.1' }
  control.isDead = ({ type }) => type === 'tenant.place'
  await expect(moves.migrate(id, node('b'), admin)).rejects.toThrow('dead')
  expect([owner(), placed().epoch as number]).toEqual(['a', 1]) // where it is closed
  expect(changes.isBegun(placed())).toBe(true)
  await expect(changes.resume(placed())).rejects.toThrow('dead')
  expect(state.audit.count).toBe(0)
  control.isDead = () => false
  await changes.resume(placed())
  expect([owner(), placed().epoch as number]).toEqual(['b', 2])
  expect(told).toEqual(['copy b', ...Array(3).fill('tenant.release a')])
  expect([...state.audit.newestFirst()]).toMatchObject([{ actor: 'ada', action: 'tenant.migrate', target: id }])
  expect(changes.isBegun(placed())).toBe(false)
  await changes.resume(placed())
  expect(told).toHaveLength(4)
})

test('a change that goes on: an owner that cannot be reached is asked again, one that holds commits keeps the tenant', async () => {
  const { moves, changes, told, owner, state, run, control } = setUp()
  const placed = () => state.placements.get(id)!
  const resumed = async (cause: unknown) => {
    control.onRelease = () => {
      throw cause
    }
    await expect(changes.resume(placed())).rejects.toThrow('did not let go')
    return [owner(), placed().epoch as number, changes.isBegun(placed())]
  }
  const begin = async () => {
    control.onRelease = () => {}
    control.isDead = ({ type }) => type === 'tenant.place'
    await expect(moves.migrate(id, node('b'), systemActor)).rejects.toThrow('dead')
    control.isDead = () => false
  }
  await begin()
  expect(await resumed(new PeerUnreachableError('not yet connected', 'no'))).toEqual(['a', 1, true])
  expect(await resumed(new RemoteError('tail_not_shipped', 'a crash', null))).toEqual(['a', 1, false])
  await begin()
  expect(await resumed(new TimeoutError('perhaps it did'))).toEqual(['a', 2, false])
  await begin()
  run({ type: 'tenant.delete', id, atMs: 9 })
  expect(changes.isBegun(placed())).toBe(false)
  expect(told.filter((each) => each !== 'copy b')).toHaveLength(6)
})

test('of what was shipped before a move that did not come nobody asks the standbys', async () => {
  const { moves, told, state, run, control } = setUp()
  const at = { expected: 1 as Epoch, seen: 1 as Epoch, standbys: [node('c')], forget: false }
  run({ type: 'tenant.place', id, nodeId: node('a'), worker: 0, ...at })
  control.onRelease = () => void run({ type: 'node.drain', id: node('b'), draining: true })
  expect(await moves.migrate(id, node('b'), systemActor)).toMatchObject({ ok: false, error: 'node_draining' })
  expect(told).toEqual(['copy b', 'tenant.open a', 'tenant.release a'])
  expect(state.placements.get(id)).toMatchObject({
    nodeId: node('a'),
    standbySets: [{ epoch: 3 as Epoch, nodeIds: [node('c')] }],
  })
})

test('a wished move goes where a copy is kept, to its worker, unless another node is named', async () => {
  const place = { nodeId: node('c'), worker: 3 }
  for (const target of [null, node('c')]) {
    const { moves, run, state } = setUp()
    run({ type: 'tenant.warm', id, warm: { place } })
    expect(await moves.migrate(id, target, systemActor)).toMatchObject({ ok: true })
    expect(state.placements.get(id)).toMatchObject(place)
  }
  const { moves, run, owner } = setUp()
  run({ type: 'tenant.warm', id, warm: { place } })
  expect(await moves.migrate(id, node('b'), systemActor)).toMatchObject({ ok: true })
  expect(owner()).toBe('b')
})

test('a copy that takes too long is called off, and the tenant moves without', async () => {
  const { clock, moves, told, control, owner } = setUp()
  control.isSlow = true
  const moved = moves.migrate(id, node('b'), systemActor)
  for (let second = 0; second < 10 && owner() === 'a'; second++) {
    await clock.advance(1_000)
    for (let turn = 0; turn < 50; turn++) await Promise.resolve()
  }
  expect(await moved).toMatchObject({ ok: true })
  expect(told).toEqual(['job.stop b', 'tenant.release a'])
  expect(owner()).toBe('b')
})
