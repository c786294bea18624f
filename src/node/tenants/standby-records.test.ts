// Goal: the store says who stands by before any standby confirms a write, of the newest epoch alone, and that nobody has
// anything where a tenant was closed with everything in the store. Method: real tenants on a store in memory; the standbys are
// played.

import { expect, test } from 'bun:test'
import { addCollection, addRecord, specOfTest, TenantBench } from '../../../test/support/tenant.ts'
import { until } from '../../../test/support/wait.ts'
import type { Placement } from '../../ipc/messages/tenant.ts'
import { decodeStandbyRecord } from '../../ipc/standby-record.ts'
import type { Epoch, NodeId, Txid } from '../../lib/brand.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { listLtx } from '../../replicate/ltx-store.ts'
import { readFacts, tenantPrefix } from './manifest.ts'
import { openTenant } from './open-tenant.ts'

/** A tenant whose standbys take everything and hold nothing. */
async function closedTenant(store: MemoryObjectStore) {
  const bench = await TenantBench.start(store)
  bench.deps.standbys.node = ({ nodeId }) => ({
    name: nodeId,
    promise: async () => ({ accepted: true, held: null }),
    append: async () => 'stored',
    read: async () => null,
    release: async () => {},
  })
  const created = await bench.create()
  await addCollection(created, 'notes')
  await bench.close(created)
  return { bench, id: created.spec.id }
}

test('a record an epoch with standbys, and one more when there are none any longer', async () => {
  const store = new MemoryObjectStore()
  const { bench, id } = await closedTenant(store)
  await using _ = bench
  const root = `${tenantPrefix('pf', id)}/standbys/`
  const records = () => store.keys.filter((key) => key.startsWith(root)).map((key) => key.slice(root.length))
  expect((await readFacts(bench.deps, id))?.standbys).toEqual({ recordEpoch: null, settled: null })
  expect(records()).toEqual([])

  const set = (epoch: number, ...nodeIds: string[]) => ({
    epoch: epoch as Epoch,
    nodes: nodeIds.map((nodeId) => ({ nodeId: nodeId as NodeId, ipcAddress: 'tcp://127.0.0.1:0' })),
  })
  const placement = (epoch: number, ...standbySets: NonNullable<Placement['standbySets']>): Placement => ({
    tenantId: id,
    nodeId: 'node-1' as NodeId,
    worker: 0,
    epoch: epoch as Epoch,
    standbySets,
  })
  const spec = specOfTest(id)
  const puts = () => store.requestCountOf('put')

  let open = await openTenant(spec, placement(5, set(5, 'a', 'b', 'c')), bench.deps)
  expect(records()).toEqual(['00000005.json'])
  expect(decodeStandbyRecord(await store.get(`${root}00000005.json`))).toEqual({
    epoch: 5 as Epoch,
    sets: [{ epoch: 5 as Epoch, nodeIds: ['a', 'b', 'c'] as NodeId[] }],
  })
  await addRecord(open, 'notes', 'one')
  await open.close()
  const tail = async () =>
    Math.max(...(await listLtx({ store, prefix: `${tenantPrefix('pf', id)}/data.db` })).map(({ maxTxid }) => maxTxid))
  const settled = async (epoch: number) => ({
    recordEpoch: epoch as Epoch,
    settled: { txid: (await tail()) as Txid, epoch: epoch as Epoch },
  })
  expect((await readFacts(bench.deps, id))?.standbys).toEqual(await settled(5))

  // Opened again under the same epoch there is nothing to record, but it is no longer known to be all in the store.
  open = await openTenant(spec, placement(5, set(5, 'a', 'b', 'c')), bench.deps)
  const before = puts()
  await open.update({ ...spec, plan: 'large' }, open.placement)
  expect(puts()).toBe(before + 1)
  expect((await readFacts(bench.deps, id))?.standbys).toEqual({ recordEpoch: 5 as Epoch, settled: null })
  await open.close()
  expect((await readFacts(bench.deps, id))?.standbys).toEqual(await settled(5))

  open = await openTenant(spec, placement(6), bench.deps)
  await until('the earlier record to be gone', () => records().join() === '00000006.json')
  expect(decodeStandbyRecord(await store.get(`${root}00000006.json`))?.sets).toEqual([])
  await open.close()
})

test('without its record no tenant with standbys is opened', async () => {
  const store = new MemoryObjectStore()
  const { bench, id } = await closedTenant(store)
  await using _ = bench
  const put = store.put.bind(store)
  store.put = (key, ...rest) => (key.includes('/standbys/') ? Promise.reject(new Error('refused')) : put(key, ...rest))
  const nodes = [{ nodeId: 'a' as NodeId, ipcAddress: 'tcp://127.0.0.1:0' }]
  const placement = { ...bench.placement(id), standbySets: [{ epoch: 9 as Epoch, nodes }], epoch: 9 as Epoch }
  await expect(openTenant(specOfTest(id), placement, bench.deps)).rejects.toThrow('refused')
})
