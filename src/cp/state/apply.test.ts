// Goal: the checks that must hold under concurrency hold in `apply`; a refused command changes nothing; memory and the
// rows that go to disk say the same; and the stored formats keep their bytes.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { registerNode, tenantRow } from '../../../test/support/cluster-rows.ts'
import type { Epoch, NodeId, Slug, Txid } from '../../lib/brand.ts'
import { fromUtf8 } from '../../lib/bytes.ts'
import { DecodeError } from '../binary.ts'
import { apply } from './apply.ts'
import { type Command, commands } from './command.ts'
import type { TenantOperation } from './operations.ts'
import { placementRows } from './placements.ts'
import { ClusterState, StateBatch } from './state.ts'
import type { Tenant } from './tenants.ts'
import { warmStandbyRows } from './warm-standbys.ts'

const tenant = (at: number, slug = `t${at}`, domains: string[] = []): Tenant => ({
  ...tenantRow(at, 1_700_000_000_000),
  slug: slug as Slug,
  domains,
  metadata: { k: 'v' },
  pendingSuperuser: { email: 'a@b.c', passwordHash: '$2b$10$x' },
})

const node = (id: string): Command => registerNode(id as NodeId)
const create = (of: Tenant): Command => ({ type: 'tenant.create', tenant: of, nodeId: 'n1' as NodeId, worker: 0 })

class Machine {
  readonly state = new ClusterState()
  readonly rows = new Map<string, Uint8Array>()

  /** `ok` or the reason; through the codec, as a member does it. */
  run(command: Command): string {
    const batch = new StateBatch(this.state)
    const outcome = apply(this.state, batch, commands.decode(commands.encode(command)))
    if (!outcome.ok) expect(batch.writes).toEqual([])
    for (const { key, value } of batch.writes)
      value === null ? this.rows.delete(fromUtf8(key)) : this.rows.set(fromUtf8(key), value)
    return outcome.ok ? 'ok' : outcome.error
  }

  /** Memory, reloaded from its rows, is the same. */
  checkRows(): void {
    const loaded = new ClusterState()
    for (const [key, value] of this.rows) loaded.load(new TextEncoder().encode(key), value)
    const dump = (state: ClusterState) =>
      [...state.rows()].map(({ key, value }) => [fromUtf8(key), Buffer.from(value).toString('hex')]).sort()
    expect(dump(loaded)).toEqual(dump(this.state))
    expect(loaded.tenants.count).toBe(this.state.tenants.count)
  }
}

test('names are unique, freed by renaming and deletion; ids are never used again', () => {
  const machine = new Machine()
  const [one, two] = [tenant(1, 'one', ['a.example']), tenant(2, 'one')]
  const update = { type: 'tenant.update', slug: null, domains: null, status: null, plan: null, ackMode: null } as const
  const change = { ...update, limits: null, metadata: null, atMs: 2 } as const
  expect(machine.run(create(one))).toBe('node_not_found')
  expect(machine.run(node('n1'))).toBe('ok')
  expect(machine.run(create(one))).toBe('ok')
  expect(machine.run(create(one))).toBe('id_taken')
  expect(machine.run(create(two))).toBe('slug_taken')
  expect(machine.run(create({ ...two, slug: 'two' as Slug, domains: ['a.example'] }))).toBe('domain_taken')
  expect(machine.run({ ...change, id: one.id, slug: 'first' as Slug, domains: [] })).toBe('ok')
  expect(machine.run(create({ ...two, domains: ['a.example'] }))).toBe('ok')
  expect(machine.run({ ...change, id: one.id, slug: 'one' as Slug })).toBe('slug_taken')
  expect(machine.run({ type: 'tenant.delete', id: two.id, atMs: 3 })).toBe('ok')
  expect(machine.run({ ...change, id: one.id, slug: 'one' as Slug })).toBe('ok')
  expect(machine.run(create(two))).toBe('id_taken')
  expect(machine.run({ type: 'tenant.activate', id: two.id, atMs: 3 })).toBe('not_found')
  expect(machine.state.tenants.count).toBe(1)
  machine.checkRows()
})

test('a change is all of it or nothing', () => {
  const machine = new Machine()
  for (const name of ['n1', 'n2']) machine.run(node(name))
  const [one, two] = [tenant(1, 'one'), tenant(2, 'two')]
  for (const each of [one, two]) machine.run(create(each))
  const { id } = one
  machine.run({ type: 'tenant.activate', id, atMs: 2 })
  const change = {
    type: 'tenant.change',
    id,
    slug: 'first' as Slug,
    domains: ['a.example'],
    status: 'suspended',
    plan: 'large',
    ackMode: 'quorum',
    limits: null,
    metadata: { k: 'w' },
    lossBoundMs: 900,
    onStoreOutage: 'refuse',
    retention: { keepEveryMs: 7_200_000 },
    standby: { warm: { place: { nodeId: 'n2' as NodeId, worker: 1 } } },
    atMs: 3,
  } as const
  const rows = () => JSON.stringify([...machine.rows].map(([key, value]) => [key, Buffer.from(value).toString('hex')]))
  const before = rows()
  expect(machine.run({ ...change, slug: 'two' as Slug })).toBe('slug_taken')
  expect(machine.run({ ...change, id: tenant(9).id })).toBe('not_found')
  expect(rows()).toBe(before)
  expect(machine.run(change)).toBe('ok')
  const { domains, plan, ackMode, metadata, lossBoundMs, onStoreOutage } = change
  const changed = {
    slug: change.slug,
    status: change.status,
    domains,
    plan,
    ackMode,
    metadata,
    lossBoundMs,
    onStoreOutage,
  }
  expect(machine.state.tenants.get(id)).toMatchObject({ ...changed, limits: one.limits, updatedAtMs: 3 })
  expect(machine.state.retentions.get(id)?.keepEveryMs).toBe(7_200_000)
  expect(machine.state.warmStandbys.get(id)?.place?.nodeId as string).toBe('n2')
  const nothing = { slug: null, domains: null, status: null, plan: null, ackMode: null, limits: null, metadata: null }
  const rest = { lossBoundMs: null, onStoreOutage: null, retention: null, standby: null, atMs: 4 }
  expect(machine.run({ type: 'tenant.change', id, ...nothing, ...rest })).toBe('ok')
  expect(machine.state.tenants.get(id)).toMatchObject({ ...changed, updatedAtMs: 4 })
  expect(machine.state.retentions.get(id)?.keepEveryMs).toBe(7_200_000)
  // A node that went meanwhile is no reason to refuse the rest.
  const gone = { warm: { place: { nodeId: 'n9' as NodeId, worker: 0 } } }
  expect(machine.run({ ...change, retention: { keepEveryMs: null }, standby: gone, atMs: 5 })).toBe('ok')
  expect(machine.state.retentions.get(id)).toBeUndefined()
  expect(machine.state.warmStandbys.get(id)).toEqual({ tenantId: id, place: null })
  expect(machine.run({ ...change, standby: { warm: null }, atMs: 6 })).toBe('ok')
  expect(machine.state.warmStandbys.get(id)).toBeUndefined()
  machine.checkRows()
})

test('a planned change of owner: of the placement of now, to a node that may have it; the next placement ends it', () => {
  const machine = new Machine()
  for (const name of ['n1', 'n2']) machine.run(node(name))
  machine.run(create(tenant(1)))
  const { id } = tenant(1)
  const change = {
    tenantId: id,
    epoch: 1 as Epoch,
    nodeId: 'n2' as NodeId,
    worker: 3,
    standbys: ['n1' as NodeId],
    forget: true,
    audit: null,
  }
  const begin = (over: Partial<typeof change> = {}) =>
    machine.run({ type: 'change.begin', change: { ...change, ...over } })
  expect(begin({ epoch: 2 as Epoch })).toBe('stale_epoch')
  expect(begin({ nodeId: 'n9' as NodeId })).toBe('node_not_found')
  expect(begin({ tenantId: tenant(9).id })).toBe('not_found')
  expect(begin()).toBe('ok')
  machine.checkRows()
  expect(machine.state.plannedChanges.get(id)).toEqual(change)
  const end = (epoch: number) => machine.run({ type: 'change.end', id, epoch: epoch as Epoch })
  expect(end(2)).toBe('ok')
  expect(machine.state.plannedChanges.get(id)).toBeDefined() // another one's end
  expect(end(1)).toBe('ok')
  expect(machine.state.plannedChanges.get(id)).toBeUndefined()
  begin()
  const place = { expected: 1 as Epoch, seen: 1 as Epoch, standbys: [], forget: false }
  expect(machine.run({ type: 'tenant.place', id, nodeId: 'n2' as NodeId, worker: 0, ...place })).toBe('ok')
  expect(machine.state.plannedChanges.get(id)).toBeUndefined()
  machine.checkRows()
  expect(Buffer.from(commands.encode({ type: 'change.begin', change })).toString('hex')).toBe(
    '012e' + '0f74656e616e74303030303030303031' + '01' + '026e32' + '03' + '01026e31' + '01' + '00',
  )
})

test('how long every point stays: set, taken back, gone with the tenant', () => {
  const machine = new Machine()
  machine.run(node('n1'))
  const { id } = tenant(1)
  const keep = (keepEveryMs: number | null) => machine.run({ type: 'tenant.retention', id, keepEveryMs })
  expect(keep(1)).toBe('not_found')
  machine.run(create(tenant(1)))
  expect(keep(null)).toBe('ok')
  expect(keep(3_600_000)).toBe('ok')
  expect(machine.state.retentions.get(id)).toEqual({ tenantId: id, keepEveryMs: 3_600_000 })
  machine.checkRows()
  expect(keep(null)).toBe('ok')
  expect(machine.state.retentions.get(id)).toBeUndefined()
  keep(7_200_000)
  machine.run({ type: 'tenant.delete', id, atMs: 3 })
  expect(machine.state.retentions.get(id)).toBeUndefined()
  expect(keep(1)).toBe('not_found')
  machine.checkRows()
})

test('a warm standby: wished, placed on a node that there is, gone with the tenant', () => {
  const machine = new Machine()
  machine.run(node('n1'))
  const { id } = tenant(1)
  const wish = (warm: Extract<Command, { readonly type: 'tenant.warm' }>['warm']) =>
    machine.run({ type: 'tenant.warm', id, warm })
  expect(wish({ place: null })).toBe('not_found')
  machine.run(create(tenant(1)))
  expect(wish(null)).toBe('ok')
  expect(wish({ place: null })).toBe('ok')
  const place = { nodeId: 'n1' as NodeId, worker: 2 }
  expect(wish({ place: { ...place, nodeId: 'n9' as NodeId } })).toBe('node_not_found')
  expect(wish({ place })).toBe('ok')
  expect(machine.state.warmStandbys.get(id)).toEqual({ tenantId: id, place })
  machine.checkRows()
  expect(Buffer.from(warmStandbyRows.encode({ tenantId: id, place })).toString('hex')).toBe(
    '010f74656e616e7430303030303030303101026e3102',
  )
  machine.run({ type: 'tenant.delete', id, atMs: 3 })
  expect(machine.state.warmStandbys.get(id)).toBeUndefined()
  expect(wish({ place })).toBe('not_found')
  machine.checkRows()
})

test('a placement moves only from the epoch that was meant, and epochs only rise', () => {
  const machine = new Machine()
  for (const id of ['n1', 'n2', 'n3']) machine.run(node(id))
  const { id } = tenant(1)
  machine.run(create(tenant(1)))
  const assign = (to: string, expected: number, seen = expected) =>
    machine.run({
      type: 'tenant.assign',
      id,
      nodeId: to as NodeId,
      worker: 1,
      expected: expected as Epoch,
      seen: seen as Epoch,
    })
  expect(assign('n2', 1)).toBe('ok')
  expect(assign('n3', 1)).toBe('stale_epoch')
  expect(machine.state.placements.get(id)).toMatchObject({ nodeId: 'n2', epoch: 2 })
  expect(assign('n2', 2, 9)).toBe('ok')
  expect(machine.state.placements.get(id)?.epoch as number).toBe(10)
  machine.run({ type: 'node.drain', id: 'n3' as NodeId, draining: true })
  expect(assign('n3', 10)).toBe('node_draining')
  expect(machine.run({ type: 'node.remove', id: 'n2' as NodeId })).toBe('node_in_use')
  expect([...machine.state.placements.onNode('n2' as NodeId)]).toEqual([id])
  expect(machine.run({ type: 'placement.remove', id })).toBe('wrong_status')
  machine.run({ type: 'tenant.delete', id, atMs: 3 })
  expect(machine.run({ type: 'placement.remove', id })).toBe('ok')
  expect(machine.run({ type: 'node.remove', id: 'n2' as NodeId })).toBe('ok')
  machine.checkRows()
})

test('one operation a tenant; a forked tenant loses its own with its activation, a deleted one with its end', () => {
  const machine = new Machine()
  machine.run(node('n1'))
  const cut = { atMs: 1_700_000_000_000, data: 7 as Txid, hooks: 1 as Txid, auxiliary: 3 as Txid }
  const restore = (at: number, id: string) =>
    ({ type: 'restore', id, tenantId: tenant(at).id, cut, atMs: 2 }) satisfies TenantOperation
  const begin = (operation: TenantOperation) => machine.run({ type: 'operation.begin', operation })
  expect(begin(restore(1, 'a'))).toBe('not_found')
  machine.run(create(tenant(1)))
  expect(begin(restore(1, 'a'))).toBe('wrong_status')
  machine.run({ type: 'tenant.activate', id: tenant(1).id, atMs: 3 })
  expect(begin(restore(1, 'a'))).toBe('ok')
  expect(begin(restore(1, 'b'))).toBe('operation_pending')
  machine.checkRows()
  expect(machine.run({ type: 'operation.end', tenantId: tenant(1).id, id: 'b' })).toBe('ok')
  expect(machine.state.operations.get(tenant(1).id)?.id).toBe('a')
  expect(machine.run({ type: 'operation.end', tenantId: tenant(1).id, id: 'a' })).toBe('ok')
  expect(begin(restore(1, 'b'))).toBe('ok')
  machine.run({ type: 'tenant.delete', id: tenant(1).id, atMs: 3 })
  expect([...machine.state.operations.all()]).toEqual([])

  const operation = { ...restore(2, 'f'), type: 'fork', source: tenant(1).id } as const
  const fork = (at: number): Command => ({
    type: 'tenant.fork',
    tenant: tenant(at),
    nodeId: 'n1' as NodeId,
    worker: 0,
    operation: { ...operation, tenantId: tenant(at).id },
  })
  expect(machine.run(fork(2))).toBe('ok')
  expect(machine.state.tenants.get(tenant(2).id)).toMatchObject({ status: 'created', pendingSuperuser: null })
  machine.checkRows()
  machine.run({ type: 'tenant.activate', id: tenant(2).id, atMs: 3 })
  expect([...machine.state.operations.all()]).toEqual([])
  expect(machine.run(fork(2))).toBe('id_taken')
  machine.checkRows()
})

test('archived and back; use is noted and only moves forward', () => {
  const machine = new Machine()
  machine.run(node('n1'))
  const { id } = tenant(1)
  machine.run(create(tenant(1)))
  const archive = () => machine.run({ type: 'tenant.archive', id, atMs: 5 })
  expect(archive()).toBe('wrong_status')
  machine.run({ type: 'tenant.activate', id, atMs: 3 })
  expect(archive()).toBe('ok')
  expect(archive()).toBe('ok')
  expect(machine.state.tenants.get(id)?.status).toBe('archived')
  const note = (usedAtMs: number) => machine.run({ type: 'activity.note', used: [{ tenantId: id, usedAtMs }] })
  const put = { tenantId: id, usedAtMs: 10, stage: 'archived', stageAtMs: 12, reopenMs: null } as const
  expect(machine.run({ type: 'activity.put', activity: put })).toBe('ok')
  note(9)
  expect(machine.state.activities.get(id)).toEqual(put)
  note(20)
  expect(machine.state.activities.get(id)).toEqual({ ...put, usedAtMs: 20 })
  machine.checkRows()
  expect(machine.run({ type: 'tenant.resume', id, atMs: 6 })).toBe('ok')
  expect(machine.state.tenants.get(id)?.status).toBe('active')
  machine.run({ type: 'activity.put', activity: { ...put, stage: 'infrequent' } })
  note(30)
  expect(machine.state.activities.get(id)).toMatchObject({ stage: 'warm', stageAtMs: 30, usedAtMs: 30 })
  expect(machine.run({ type: 'activity.note', used: [{ tenantId: tenant(9).id, usedAtMs: 1 }] })).toBe('ok')
  machine.run({ type: 'tenant.delete', id, atMs: 7 })
  expect(machine.state.activities.get(id)).toBeUndefined()
  expect(machine.run({ type: 'activity.put', activity: put })).toBe('not_found')
  machine.checkRows()
})

test('rows are compact', () => {
  const machine = new Machine()
  machine.run(node('n1'))
  for (let at = 0; at < 1_000; at++) machine.run(create(tenant(at)))
  const sizeBytes = [...machine.rows].reduce((sum, [key, value]) => sum + key.length + value.length, 0)
  expect(sizeBytes / 1_000).toBeLessThan(200)
})

test('commands keep their bytes; unknown and damaged ones are refused', () => {
  const bytes = commands.encode({ type: 'tenant.activate', id: tenant(1).id, atMs: 1_700_000_000_000 })
  expect(Buffer.from(bytes).toString('hex')).toBe('01030f74656e616e7430303030303030303180d095ffbc31')
  expect(Buffer.from(commands.encode(create(tenant(1)))).toString('hex')).toBe(
    '01020f74656e616e7430303030303030303102743100000005736d616c6c00008827000180c2d72f01904e0114882701016b017680d095ffbc3180d095ffbc3101056140622e63082432622431302478026e3100',
  )
  const cut = { atMs: 1_700_000_000_000, data: 300 as Txid, hooks: 1 as Txid, auxiliary: 2 as Txid }
  const restore = { type: 'restore', id: 'op', tenantId: tenant(1).id, cut, atMs: 1_700_000_000_000 } as const
  const begun = commands.encode({ type: 'operation.begin', operation: restore })
  expect(Buffer.from(begun).toString('hex')).toBe(
    '011401026f700f74656e616e7430303030303030303180d095ffbc31ac02010280d095ffbc31',
  )
  const reclaim = commands.encode({
    type: 'tenant.reclaim',
    tenant: tenant(1),
    nodeId: 'n1' as NodeId,
    worker: 0,
    epoch: 9 as Epoch,
    standbySets: [{ epoch: 7 as Epoch, nodeIds: ['n2' as NodeId] }],
    keepEveryMs: 3_600_000,
    isKeptWarm: true,
    isHandedOver: false,
    replicaEpoch: null,
    atMs: 1_700_000_000_000,
  })
  expect(Buffer.from(reclaim).toString('hex')).toBe(
    '012d0f74656e616e7430303030303030303102743100000005736d616c6c00008827000180c2d72f01904e0114882701016b017680d095ffbc3180d095ffbc3101056140622e63082432622431302478026e310009010701026e320180dddb0101000080d095ffbc31',
  )
  expect(() => commands.decode(new Uint8Array([1, 99]))).toThrow('type 99 is unknown')
  expect(() => commands.decode(new Uint8Array([2, 3]))).toThrow('version 2 is unknown')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (any) => {
      try {
        commands.decode(any)
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError)
      }
    }),
  )
})

test('sets of standbys are kept until an owner above them has sealed, and forgotten only on demand', () => {
  const machine = new Machine()
  for (const id of ['n1', 'n2', 'n3']) machine.run(node(id))
  machine.run(create(tenant(1)))
  const { id } = tenant(1)
  let expected = 1
  const place = (standbys: readonly string[], change: Partial<Extract<Command, { type: 'tenant.place' }>> = {}) => {
    const command: Command = {
      type: 'tenant.place',
      id,
      nodeId: 'n1' as NodeId,
      worker: 0,
      expected: expected as Epoch,
      seen: expected as Epoch,
      standbys: standbys as NodeId[],
      forget: false,
      ...change,
    }
    const outcome = machine.run(command)
    if (outcome === 'ok') expected++
    return outcome
  }
  const sets = () => machine.state.placements.get(id)!.standbySets.map(({ epoch, nodeIds }) => `${epoch}:${nodeIds}`)
  expect(place(['n2'])).toBe('ok')
  expect(place(['n2'])).toBe('ok') // the same nodes: one set for both epochs
  expect(place(['n3'])).toBe('ok')
  expect(sets()).toEqual(['2:n2', '4:n3'])
  expect(place(['n9'])).toBe('node_not_found')
  expect(machine.run({ type: 'tenant.sealed', id, epoch: 3 as Epoch })).toBe('ok')
  expect(sets()).toEqual(['2:n2', '4:n3']) // epoch 3 acknowledged by the first set
  expect(machine.run({ type: 'tenant.sealed', id, epoch: 5 as Epoch })).toBe('stale_epoch')
  expect(machine.run({ type: 'tenant.sealed', id, epoch: 4 as Epoch })).toBe('ok')
  expect(sets()).toEqual(['4:n3'])
  expect(place([])).toBe('ok')
  expect(sets()).toEqual(['4:n3', '5:'])
  machine.run({ type: 'tenant.sealed', id, epoch: 5 as Epoch })
  expect(sets()).toEqual([])
  for (let n = 0; n < 16; n++) expect(place([n % 2 === 0 ? 'n2' : 'n3'])).toBe('ok')
  expect(place(['n2'])).toBe('standbys_unasked')
  expect(place(['n2'], { forget: true })).toBe('ok')
  expect(sets()).toEqual([`${expected}:n2`])
  machine.checkRows()
})

test('placements of the first version, without standbys, are still read', () => {
  const { id } = tenant(1)
  const row = new Uint8Array([1, id.length, ...new TextEncoder().encode(id), 2, 110, 49, 3, 7])
  expect(placementRows.decode(row)).toEqual({
    tenantId: id,
    nodeId: 'n1' as NodeId,
    worker: 3,
    epoch: 7 as Epoch,
    standbySets: [],
  })
  expect(
    Buffer.from(
      placementRows.encode({
        ...placementRows.decode(row),
        standbySets: [{ epoch: 7 as Epoch, nodeIds: ['n2' as NodeId] }],
      }),
    ).toString('hex'),
  ).toBe('020f74656e616e7430303030303030303102' + '6e310307' + '0107' + '01026e32')
})

test('what was handed over is served again only by taking it back, though it was deleted meanwhile, and never swept', () => {
  const machine = new Machine()
  const { id } = tenant(1)
  const handOver = { type: 'tenant.hand-over', id, atMs: 5 } as const
  const takeBack = { type: 'tenant.take-back', id, atMs: 6 } as const
  const none = { slug: null, domains: null, plan: null, ackMode: null, limits: null, metadata: null, atMs: 7 } as const
  const set = (status: 'active' | 'suspended') => machine.run({ type: 'tenant.update', id, status, ...none })
  machine.run(node('n1'))
  machine.run(create(tenant(1)))
  machine.run({ type: 'tenant.activate', id, atMs: 2 })
  expect(machine.run(handOver)).toBe('wrong_status')
  expect(machine.run(takeBack)).toBe('not_handed_over')
  expect(set('suspended')).toBe('ok')
  expect(machine.run(handOver)).toBe('ok')
  expect(machine.run({ ...handOver, atMs: 9 })).toBe('handed_over')
  expect(machine.state.handOvers.get(id)?.atMs).toBe(5)
  expect(set('active')).toBe('handed_over')
  const cut = { atMs: 1, data: 1 as Txid, hooks: 1 as Txid, auxiliary: 1 as Txid }
  const restore = { type: 'restore', id: 'op', tenantId: id, cut, atMs: 1 } as const
  expect(machine.run({ type: 'operation.begin', operation: restore })).toBe('handed_over')
  machine.checkRows()
  expect(machine.run(takeBack)).toBe('ok')
  expect(machine.state.tenants.get(id)?.status).toBe('active')
  expect(set('suspended')).toBe('ok')
  expect(set('active')).toBe('ok')
  set('suspended')
  machine.run(handOver)
  machine.run({ type: 'tenant.delete', id, atMs: 8 })
  machine.run({ type: 'placement.remove', id })
  expect(machine.state.handOvers.get(id)?.atMs).toBe(5)
  const sweep = { tenantId: id, phase: 'named', atMs: 9, epoch: 1, objects: 1, bytes: 1 } as const
  expect(machine.run({ type: 'sweep.put', sweep, expected: 'released' })).toBe('handed_over')
  machine.checkRows()
  const adopted = { ...tenant(1), status: 'active' } as const
  expect(
    machine.run({ type: 'tenant.adopt', tenant: adopted, nodeId: 'n1' as NodeId, worker: 0, epoch: 9 as Epoch }),
  ).toBe('ok')
  expect(machine.state.tenants.get(id)?.status).toBe('suspended')
  expect(set('active')).toBe('handed_over')
  expect(machine.run(takeBack)).toBe('ok')
  expect(machine.state.tenants.get(id)?.status).toBe('active')
  // Decided about the tombstone, and late.
  for (const phase of ['named', 'released'] as const)
    expect(machine.run({ type: 'sweep.put', sweep: { ...sweep, phase, epoch: 0 }, expected: null })).toBe('stale_epoch')
  machine.checkRows()
})

test('an adopted tombstone comes back with its names free, and not once its objects may be gone', () => {
  const machine = new Machine()
  const [one, two] = [tenant(1, 'one'), tenant(2, 'one')]
  const adopt = { type: 'tenant.adopt', tenant: one, nodeId: 'n1' as NodeId, worker: 0, epoch: 4 as Epoch } as const
  machine.run(node('n1'))
  machine.run(create(one))
  machine.run({ type: 'tenant.delete', id: one.id, atMs: 2 })
  expect(machine.run(adopt)).toBe('id_taken') // its node has not let go yet
  machine.run({ type: 'placement.remove', id: one.id })
  machine.run(create(two))
  expect(machine.run(adopt)).toBe('slug_taken')
  machine.run({ type: 'tenant.delete', id: two.id, atMs: 3 })
  expect(machine.run(adopt)).toBe('ok')
  expect(machine.state.sweeps.get(one.id)).toBeUndefined()
  expect(machine.state.tenants.count).toBe(1)
  machine.checkRows()
})
