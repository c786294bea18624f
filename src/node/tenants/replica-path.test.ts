// Goal: where nothing keeps two owners from one key, the one that was replaced writes where nobody reads and acknowledges
// nothing without its lease; a copy that was interrupted is made again and never goes back. Method: real tenants on a store in
// memory that ignores create-only.

import { expect, test } from 'bun:test'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { addCollection, addRecord, specOfTest, TenantBench, titles } from '../../../test/support/tenant.ts'
import { until } from '../../../test/support/wait.ts'
import type { Placement } from '../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import { newTenantId } from '../../lib/id.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import type { PutOptions } from '../../lib/object-store/object-store.ts'
import { systemRng } from '../../lib/rng.ts'
import { createTenant } from './create-tenant.ts'
import { openTenant } from './open-tenant.ts'
import type { OpenTenant } from './pool.ts'
import { moveReplica, storeOfOwner } from './replica-path.ts'
import { TenantFiles } from './tenant-files.ts'

class LastWriterWins extends MemoryObjectStore {
  override put(key: string, body: Uint8Array, options: PutOptions = {}) {
    const { createOnly: _, ...rest } = options
    return super.put(key, body, rest)
  }
}

const placementOf = (tenantId: TenantId, epoch: number, from: number | null): Placement => ({
  tenantId,
  nodeId: `node-${epoch}` as NodeId,
  worker: 0,
  epoch: epoch as Epoch,
  replica: { epoch: from },
})

async function setUp() {
  const store = new LastWriterWins()
  const bench = await TenantBench.start(store)
  const id = newTenantId(systemRng)
  const lease = { lostMs: 0 }
  const move = async (from: number | null, to: number) => {
    const scratchDir = join(bench.dir, 'move')
    rmSync(scratchDir, { recursive: true, force: true })
    mkdirSync(scratchDir)
    const { objectPrefix, clock, rng } = bench.deps
    const signal = new AbortController().signal
    const context = { store, objectPrefix, clock, rng, scratchDir, signal, report: () => {} }
    return moveReplica(id, { from, to }, context)
  }
  /** An owner on a machine of its own. */
  const own = async (epoch: number, from: number | null): Promise<OpenTenant> => {
    const files = new TenantFiles(join(bench.dir, `node-${epoch}`), bench.clock)
    const path = { tenantId: id, epoch }
    const deps = {
      ...bench.deps,
      files,
      store: storeOfOwner(store, 'pf', path, () => (epoch === 1 ? lease.lostMs : 0)),
    }
    return openTenant(specOfTest(id), placementOf(id, epoch, from), deps)
  }
  const passwordHash = await Bun.password.hash('password123', { algorithm: 'bcrypt', cost: 4 })
  await createTenant(specOfTest(id), placementOf(id, 1, null), { email: 'root@example.com', passwordHash }, bench.deps)
  await move(null, 1)
  return { bench, store, id, lease, move, own }
}

test('a replaced owner goes on where nobody reads, and acknowledges nothing without its lease', async () => {
  const { bench, store, lease, move, own } = await setUp()
  await using _ = bench
  const old = await own(1, 1)
  await addCollection(old, 'notes')
  await addRecord(old, 'notes', 'first')
  await old.flush()

  lease.lostMs = 5_000 // the control plane has given it up, and places the tenant anew
  await move(1, 2)
  const next = await own(2, 2)
  expect(titles(next, 'notes')).toEqual(['first'])
  const before = store.keys.filter((key) => key.includes('/data.db/e2/'))
  await addRecord(old, 'notes', 'too late')
  const puts = store.requestCountOf('put')
  const late = old.flush().then(() => 'acknowledged')
  await until('attempts to write', () => store.requestCountOf('put') >= puts + 2)
  expect(await Promise.race([late, Bun.sleep(20).then(() => 'waiting')])).toBe('waiting')
  await addRecord(next, 'notes', 'second')
  await next.flush()
  expect(titles(next, 'notes')).toEqual(['first', 'second'])
  expect(store.keys.filter((key) => key.includes('/data.db/e2/')).length).toBe(before.length + 1)
  await next.close()
  lease.lostMs = 0 // it hears of the control plane again; what it writes now still is where nobody reads
  await late
  await old.close()

  await move(2, 3)
  const third = await own(3, 3)
  expect(titles(third, 'notes')).toEqual(['first', 'second'])
  await third.close()
})

test('a copy is made once: repeated later, it does not go back to what counted before', async () => {
  const { bench, store, move, own } = await setUp()
  await using _ = bench
  const first = await own(1, 1)
  await addCollection(first, 'notes')
  await addRecord(first, 'notes', 'first')
  await first.flush()
  await first.close()
  let failures = 0
  for (let failAt = 1; ; failAt++) {
    let requests = 0
    store.fault = () => (++requests === failAt ? { type: 'error', status: 500 } : null)
    const outcome = await move(1, 2).catch(() => null)
    store.fault = null
    if (outcome !== null && requests < failAt) break
    if (outcome === null) failures++
  }
  expect(failures).toBeGreaterThan(5)
  const second = await own(2, 2)
  await addRecord(second, 'notes', 'second')
  await second.flush()
  await second.close()
  expect(await move(1, 2)).toEqual({ isMoved: false }) // an old placement, from a cache
  const again = await own(2, 1)
  expect(titles(again, 'notes')).toEqual(['first', 'second'])
  await again.close()
})
