// Goal: every tenant is drilled in its time, somewhere else, and what is found is in the state. Method: the real state and
// apply, a clock that stands still, nodes that answer as told.

import { expect, test } from 'bun:test'
import { registerNode, tenantIdOf, tenantRow } from '../../../test/support/cluster-rows.ts'
import { candidate, playedOrders } from '../../../test/support/played-orders.ts'
import type { Epoch, NodeId, TenantId, Txid } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/obs/log.ts'
import { seededRng } from '../../lib/rng.ts'
import { defaultDrillPolicy } from '../config.ts'
import { apply } from '../state/apply.ts'
import { type Command, commands } from '../state/command.ts'
import { ClusterState, StateBatch } from '../state/state.ts'
import { DrillService } from './drills.ts'

const day = 24 * 3_600_000
const nodeIds = ['n1', 'n2', 'n3'] as NodeId[]

class World {
  readonly clock = new SimClock()
  readonly state = new ClusterState()
  readonly orders: { readonly node: NodeId; readonly tenant: TenantId }[] = []
  readonly outcomes: string[] = []
  readonly down = new Set<NodeId>()
  answer: (tenant: TenantId, node: NodeId) => string | null = () => null
  readonly service: DrillService

  constructor(tenants: number) {
    for (const id of nodeIds) this.run(registerNode(id))
    for (let at = 0; at < tenants; at++) this.create(at)
    this.service = new DrillService({
      state: this.state,
      propose: async (command) => this.run(command),
      orders: playedOrders((node, order) => {
        if (order.type !== 'job.run') throw new Error(`unexpected ${order.type}`)
        this.orders.push({ node, tenant: order.tenantId })
        const code = this.answer(order.tenantId, node)
        if (code === 'lost') throw new Error('no answer')
        const database = { sizeBytes: 4_096, filesCount: 1, bytesRead: 100, notedCount: 0, otherFilesCount: null }
        const report = { databases: [{ name: 'data.db', txid: 7 as Txid, restoreMs: 1.5, ...database }] }
        return code === null ? { state: 'done', report } : { state: 'failed', code, message: `it is ${code}` }
      }),
      nodes: {
        stateOf: (id) => (this.down.has(id) ? 'down' : 'healthy'),
        candidates: () => nodeIds.filter((id) => !this.down.has(id)).map(candidate),
      },
      operations: {
        start: () => {
          throw new Error('nobody watches')
        },
      },
      clock: this.clock,
      rng: seededRng(3),
      log: silentLogger,
      policy: defaultDrillPolicy,
      isLeader: () => true,
      onOutcome: (outcome) => this.outcomes.push(outcome),
    })
  }

  create(at: number): void {
    const nowMs = this.clock.now()
    const tenant = tenantRow(at, nowMs)
    this.run({ type: 'tenant.create', tenant, nodeId: nodeIds[at % nodeIds.length]!, worker: 0 })
    this.run({ type: 'tenant.activate', id: tenant.id, atMs: nowMs })
  }

  run(command: Command) {
    return apply(this.state, new StateBatch(this.state), commands.decode(commands.encode(command)))
  }

  /** Advances in small steps, so that drills end between them. */
  async pass(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 10_000) {
      await this.clock.advance(10_000)
      for (let i = 0; i < 20; i++) await Promise.resolve()
    }
  }
}

test('in thirty days every tenant is proven once, on a node that is not its own', async () => {
  const world = new World(12)
  world.service.schedule()
  await world.pass(day / 24 - 60_000)
  expect(world.orders).toEqual([]) // nothing in the first hour
  await world.pass(31 * day - day / 24)
  for (let at = 0; at < 12; at++) {
    const drilled = world.orders.filter(({ tenant }) => tenant === tenantIdOf(at))
    expect(drilled.length).toBeGreaterThanOrEqual(1)
    expect(drilled.length).toBeLessThanOrEqual(2)
    const owner = world.state.placements.get(tenantIdOf(at))!.nodeId
    for (const { node } of drilled) expect(node).not.toBe(owner)
    const row = world.state.drills.get(tenantIdOf(at))!
    expect(row.failure).toBeNull()
    expect(row.proven).toMatchObject({ txid: 7, sizeBytes: 4_096, restoreMs: 2 })
  }
  await world.service[Symbol.asyncDispose]()
  expect(world.clock.pendingTimers).toBe(0)
}, 180_000)

test('a finding is kept beside the last good restore, and goes with the next one', async () => {
  const world = new World(1)
  world.service.schedule()
  await world.pass(day)
  const good = world.state.drills.get(tenantIdOf(0))!.proven
  expect(good).not.toBeNull()
  world.answer = () => 'drill_failed'
  await world.pass(31 * day)
  const row = world.state.drills.get(tenantIdOf(0))!
  expect(row.proven).toEqual(good)
  expect(row.failure).toMatchObject({ code: 'drill_failed', message: 'it is drill_failed' })
  world.answer = () => null
  await world.pass(31 * day)
  expect(world.state.drills.get(tenantIdOf(0))).toMatchObject({ failure: null })
  expect(world.outcomes).toEqual(['proven', 'failed', 'proven'])
  await world.service[Symbol.asyncDispose]()
}, 180_000)

test('a node without room says nothing about the history; one that dies is replaced; a lost answer is asked for again', async () => {
  const world = new World(1)
  world.answer = () => 'drill_space'
  world.service.schedule()
  await world.pass(3 * 3_600_000)
  expect(world.outcomes).toContain('given_up')
  expect(world.state.drills.get(tenantIdOf(0))).toBeUndefined()
  world.answer = (_, node) => {
    world.down.add(node)
    return 'lost'
  }
  await world.pass(2 * 3_600_000)
  // Its owner is the last that is left, and then nobody.
  expect(new Set(world.orders.map(({ node }) => node)).size).toBe(3)
  world.down.clear()
  world.answer = () => null
  await world.pass(3_600_000)
  expect(world.outcomes.at(-1)).toBe('proven')
  await world.service[Symbol.asyncDispose]()
}, 180_000)

test('one that no node has room for does not keep the others from their turn', async () => {
  const world = new World(4)
  world.answer = (tenant) => (tenant === tenantIdOf(0) ? 'drill_space' : null)
  world.service.schedule()
  await world.pass(7 * day)
  expect([1, 2, 3].filter((at) => world.state.drills.get(tenantIdOf(at))?.proven)).toEqual([1, 2, 3])
  expect(world.orders.filter(({ tenant }) => tenant === tenantIdOf(0)).length).toBeGreaterThan(1)
  world.answer = () => null
  await world.pass(day)
  expect(world.state.drills.get(tenantIdOf(0))?.proven).not.toBeNull()
  await world.service[Symbol.asyncDispose]()
}, 180_000)

test('a deleted tenant leaves no row, and a drill of one changes nothing', async () => {
  const world = new World(1)
  const epoch = 1 as Epoch
  expect(world.state.placements.get(tenantIdOf(0))!.epoch).toBe(epoch)
  const drill = { tenantId: tenantIdOf(0), proven: null, failure: null }
  expect(world.run({ type: 'drill.note', drill }).ok).toBe(true)
  world.run({ type: 'tenant.delete', id: tenantIdOf(0), atMs: 5 })
  expect(world.state.drills.get(tenantIdOf(0))).toBeUndefined()
  expect(world.run({ type: 'drill.note', drill }).ok).toBe(false)
  expect(world.service.start(tenantIdOf(0))).toEqual({ ok: false, error: 'not_found' })
})
