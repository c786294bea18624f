// Goal: an adopted tenant is never acknowledged, nor opened for writing, with less than it was promised: its standbys are asked,
// what another program writes stays suspended, and what an object of an older version does not tell is not guessed.
// Method: the service over the real state and a store in memory that holds what owners leave there.

import { expect, test } from 'bun:test'
import { registerNode } from '../../../test/support/cluster-rows.ts'
import { encodeStandbyRecord, type StandbyFacts, standbyRecordKey } from '../../ipc/standby-record.ts'
import type { Epoch, NodeId, TenantId, Txid } from '../../lib/brand.ts'
import { utf8 } from '../../lib/bytes.ts'
import { SimClock } from '../../lib/clock.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { encodeLtxHeader } from '../../replicate/ltx/header.ts'
import { slotKey } from '../../replicate/ltx-store.ts'
import { apply } from '../state/apply.ts'
import { type Command, commands } from '../state/command.ts'
import { ClusterState, StateBatch } from '../state/state.ts'
import { AdoptionService } from './adoption.ts'
import { AuditLog, systemActor } from './audit.ts'
import { tenantHistory } from './history.ts'

const id = 'abcdefghij12345' as TenantId
const root = `t/${id}`
const set = (epoch: number, ...nodeIds: string[]) => ({ epoch: epoch as Epoch, nodeIds: nodeIds as NodeId[] })

class Bench {
  readonly store = new MemoryObjectStore()
  readonly state = new ClusterState()
  readonly proposed: Command[] = []

  constructor() {
    for (const node of ['node-1', 'node-2']) this.run(registerNode(node as NodeId))
  }

  run(command: Command) {
    const batch = new StateBatch(this.state)
    return apply(this.state, batch, commands.decode(commands.encode(command)))
  }

  manifest(tenant: Record<string, unknown>, rest: Record<string, unknown> = {}): Promise<unknown> {
    const body = { version: 2, tenant: { id, slug: 'old', domains: [], ...tenant }, ...rest }
    return this.store.put(`${root}/manifest.json`, utf8(JSON.stringify(body)))
  }

  async slots(...epochs: number[]): Promise<void> {
    const at = { store: this.store, prefix: `${root}/data.db` }
    for (const [index, epoch] of epochs.entries()) {
      const txid = (index + 1) as Txid
      const facts = {
        pageSize: 4096,
        commit: 1,
        minTxid: txid,
        maxTxid: txid,
        timestampMs: 1,
        walOffset: 32,
        walSize: 0,
      }
      const header = encodeLtxHeader({ ...facts, walSalt1: 0, walSalt2: 0, writer: { epoch, incarnation: 1 } })
      await this.store.put(slotKey(at, txid), header)
    }
  }

  record(epoch: number, ...sets: ReturnType<typeof set>[]): Promise<unknown> {
    const bytes = encodeStandbyRecord({ epoch: epoch as Epoch, sets })
    return this.store.put(standbyRecordKey(root, epoch as Epoch), bytes)
  }

  /** The refusal, or null. */
  async adopt(options: { isLossAccepted?: boolean; isCreateOnlyAtomic?: boolean } = {}): Promise<string | null> {
    const { isLossAccepted = false, isCreateOnlyAtomic = true } = options
    const { state, store } = this
    const clock = new SimClock()
    const propose = async (command: Command) => {
      this.proposed.push(command)
      return this.run(command)
    }
    const service = new AdoptionService({
      state,
      propose,
      history: tenantHistory(store, ''),
      moves: { waitForPlace: async () => ({ nodeId: 'node-1' as NodeId, worker: 0 }) },
      audit: new AuditLog({ state, propose, clock }),
      clock,
      config: { isCreateOnlyAtomic },
    })
    const outcome = await service.adopt('old', isLossAccepted, systemActor)
    return outcome.ok ? null : outcome.error
  }

  get placement() {
    return this.state.placements.get(id)
  }
}

test('the standbys of the newest record are asked, under an epoch above all that was ever told', async () => {
  const bench = new Bench()
  await bench.manifest({ ackMode: 'quorum', lossBoundMs: 700, onStoreOutage: 'refuse', region: 'local' })
  await bench.slots(1, 2, 2)
  await bench.record(2, set(2, 'node-2'))
  await bench.record(12, set(2, 'node-2'), set(12, 'node-3', 'node-4', 'node-5')) // never sealed
  expect(await bench.adopt()).toBeNull()
  expect(bench.placement).toMatchObject({
    epoch: 13,
    standbySets: [set(2, 'node-2'), set(12, 'node-3', 'node-4', 'node-5'), set(13)],
  })
  expect(bench.state.tenants.get(id)).toMatchObject({
    status: 'active',
    ackMode: 'quorum',
    lossBoundMs: 700,
    onStoreOutage: 'refuse',
    region: 'local',
  })
  expect(bench.proposed).toHaveLength(1) // all of it or nothing
})

test('nobody is asked where the owner closed with everything in the store, as long as the history ends there', async () => {
  const settled = (txid: number, epoch: number): { standbys: StandbyFacts } => ({
    standbys: { recordEpoch: 2 as Epoch, settled: { txid: txid as Txid, epoch: epoch as Epoch } },
  })
  for (const [facts, sets] of [
    [settled(3, 2), []],
    [settled(2, 2), [set(2, 'node-2'), set(3)]], // opened again since
    [settled(3, 1), [set(2, 'node-2'), set(3)]], // another owner's slot
  ] as const) {
    const bench = new Bench()
    await bench.manifest({ ackMode: 'quorum' }, facts)
    await bench.slots(1, 2, 2)
    await bench.record(2, set(2, 'node-2'))
    expect(await bench.adopt()).toBeNull()
    expect(bench.placement?.standbySets).toEqual(sets as never)
  }
})

test('who stood by is not guessed: old objects, lost and damaged records; an admin may accept the loss', async () => {
  const cases: [string, (bench: Bench) => Promise<unknown>, string | null][] = [
    ['an older version, quorum', (bench) => bench.manifest({ ackMode: 'quorum' }), 'standbys_unknown'],
    ['an older version, sync', (bench) => bench.manifest({ ackMode: 'sync' }), null],
    [
      'a record that is gone',
      (bench) => bench.manifest({ ackMode: 'async' }, { standbys: { recordEpoch: 2, settled: null } }),
      'standbys_unknown',
    ],
    [
      'never any',
      (bench) => bench.manifest({ ackMode: 'quorum' }, { standbys: { recordEpoch: null, settled: null } }),
      null,
    ],
  ]
  for (const [name, leave, refusal] of cases) {
    const bench = new Bench()
    await bench.slots(1, 2)
    await leave(bench)
    expect([name, await bench.adopt()]).toEqual([name, refusal])
    if (refusal !== null) {
      expect(bench.state.tenants.get(id)).toBeUndefined()
      expect(await bench.adopt({ isLossAccepted: true })).toBeNull()
    }
    expect(bench.placement).toMatchObject({ epoch: 3, standbySets: [] })
  }
  const bench = new Bench()
  await bench.manifest({ ackMode: 'quorum' })
  await bench.slots(1, 2)
  await bench.store.put(standbyRecordKey(root, 2 as Epoch), utf8('{"version":1'))
  await expect(bench.adopt()).rejects.toMatchObject({ code: 'bad_standby_record' })
  expect(await bench.adopt({ isLossAccepted: true })).toBeNull()
})

test('what another program may write is not opened: by the mark of the hand-over, and by its files', async () => {
  for (const [mark, epochs, epoch] of [
    [{ isHandedOver: true, status: 'suspended' }, [1, 7], 8],
    [{}, [1, 7, 0], 10], // official files name no epoch; an older version left no mark
  ] as const) {
    const bench = new Bench()
    await bench.manifest({ ackMode: 'async', ...mark }, { databases: { 'data.db': { epoch: epoch - 1 } } })
    await bench.slots(...epochs)
    expect(await bench.adopt()).toBeNull()
    expect(bench.placement).toMatchObject({ epoch })
    expect(bench.state.tenants.get(id)).toMatchObject({ status: 'suspended' })
    const status = { slug: null, domains: null, plan: null, ackMode: null, limits: null, metadata: null, atMs: 9 }
    const activate = { type: 'tenant.update', id, status: 'active', ...status } as const
    expect(bench.run(activate)).toEqual({ ok: false, error: 'handed_over' } as never)
    expect(bench.run({ type: 'tenant.take-back', id, atMs: 10 }).ok).toBe(true)
    expect(bench.state.tenants.get(id)).toMatchObject({ status: 'active' })
  }
})

test('a suspended tenant stays so; a warm standby is wished again, but not where none can be', async () => {
  for (const isCreateOnlyAtomic of [true, false]) {
    const bench = new Bench()
    await bench.manifest({ status: 'suspended', isKeptWarm: true, keepEveryMs: 7_200_000 })
    await bench.slots(1)
    expect(await bench.adopt({ isCreateOnlyAtomic })).toBeNull()
    expect(bench.state.tenants.get(id)?.status).toBe('suspended')
    expect(bench.state.warmStandbys.get(id)).toEqual(isCreateOnlyAtomic ? { tenantId: id, place: null } : undefined)
    expect(bench.state.replicas.get(id)).toEqual(isCreateOnlyAtomic ? undefined : { tenantId: id, epoch: 0 })
    expect(bench.state.retentions.get(id)?.keepEveryMs).toBe(7_200_000)
  }
})
