// Goal: a job begins only where its copies, and what others write meanwhile, have room.

import { expect, test } from 'bun:test'
import { addCollection, TenantBench } from '../../../test/support/tenant.ts'
import { checkRoom, NoRoomError } from './job-room.ts'

test('each copy of each database counts, and a reserve', async () => {
  await using bench = await TenantBench.start()
  const tenant = await bench.create()
  await addCollection(tenant, 'notes')
  await tenant.flush()
  const histories = { store: bench.store, objectPrefix: 'pf', tenantId: tenant.spec.id }
  const context = { scratchDir: bench.dir, signal: new AbortController().signal }
  const size = Number(tenant.engine.data.values('PRAGMA page_count')[0]![0]) * 4_096
  const check = (copies: number, free: number) => checkRoom(histories, ['data.db'], copies, context, async () => free)
  await check(2, 2 * size + (512 << 20))
  await expect(check(2, 2 * size + (512 << 20) - 1)).rejects.toBeInstanceOf(NoRoomError)
  await expect(check(3, 2 * size + (512 << 20))).rejects.toMatchObject({ code: 'ENOSPC' })
  const both = checkRoom(histories, ['data.db', 'hooks.db'], 2, context, async () => 2 * size + (512 << 20))
  await expect(both).rejects.toBeInstanceOf(NoRoomError)
})
