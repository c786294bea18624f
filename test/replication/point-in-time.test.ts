// Goal: any moment of a history can be found and rebuilt, agrees with what official litestream restores for it, and can
// become the start of another history.

import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { Database } from '../../src/node/engine/db/database.ts'
import { createHistory } from '../../src/replicate/history.ts'
import { getSlot } from '../../src/replicate/ltx-store.ts'
import { findPointInTime, restorableRange } from '../../src/replicate/point-in-time.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'
import { testWithPeers } from '../support/peers.ts'
import { Owner, prefix, restoredHash, sha256 } from './histories.ts'

interface Moment {
  readonly txid: Txid
  readonly timestampMs: number
  readonly hash: string
}

/** A history over a takeover, with the time and hash of each TXID. */
async function written(store: ObjectStore): Promise<Moment[]> {
  const moments: Moment[] = []
  const note = async (owner: Owner) => {
    const { txid } = owner.shipper
    const slot = await getSlot(owner.at, txid)
    moments.push({ txid, timestampMs: slot!.header.timestampMs, hash: owner.hash() })
  }
  await using first = await Owner.create(store)
  await note(first)
  for (let i = 0; i < 6; i++) {
    await first.insert(`value ${i}`)
    await first.flush()
    await note(first)
  }
  await first.close()
  await using second = await Owner.open(store, 2)
  await note(second)
  for (let i = 6; i < 9; i++) {
    await second.insert(`value ${i}`)
    await second.flush()
    await note(second)
  }
  return moments
}

function sorted(moments: readonly Moment[]): boolean {
  return moments.every(({ timestampMs }, i) => i === 0 || timestampMs > moments[i - 1]!.timestampMs)
}

test('each moment gives the TXID that was the newest then', async () => {
  const store = new MemoryObjectStore()
  const at = { store, prefix }
  const moments = await written(store)
  expect(sorted(moments)).toBe(true)
  for (const [i, { txid, timestampMs, hash }] of moments.entries()) {
    const next = moments[i + 1]?.timestampMs ?? Number.POSITIVE_INFINITY
    for (const timeMs of [timestampMs, Math.min(next - 1, timestampMs + 3_600_000)])
      expect(await findPointInTime(at, timeMs)).toEqual({ txid, timestampMs })
    expect(await restoredHash(at, txid)).toBe(hash)
  }
  const { oldest, newest } = await restorableRange(at)
  expect([oldest.txid, newest.txid]).toEqual([moments[0]!.txid, moments.at(-1)!.txid])
  await expect(findPointInTime(at, oldest.timestampMs - 1)).rejects.toMatchObject({
    code: 'not_that_old',
    oldestMs: oldest.timestampMs,
  })
  await expect(findPointInTime({ store, prefix: 't/none/data.db' }, 1)).rejects.toMatchObject({ code: 'never_shipped' })
})

test('a past moment becomes the start of another history; the first goes on', async () => {
  const store = new MemoryObjectStore()
  const moments = await written(store)
  const past = moments[3]!
  const dir = mkdtempSync(join(tmpdir(), 'pf-fork-'))
  try {
    const path = join(dir, 'data.db')
    const { txid } = await findPointInTime({ store, prefix }, past.timestampMs)
    await restoreDatabase({ store, prefix }, path, { target: txid })
    const db = Database.open({ path, checkpoint: 'owner' })
    const fork = { store, prefix: 't/fork/data.db' }
    await createHistory(fork, db, { epoch: 1, clock: systemClock, rng: seededRng(3) })
    await db.close()
    expect(await restoredHash(fork, null)).toBe(past.hash)
    expect(await restoredHash({ store, prefix }, null)).toBe(moments.at(-1)!.hash)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})

testWithPeers(['litestream'], 'official litestream agrees about every moment', async ({ litestream }) => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-moments-'))
  try {
    const store = await openObjectStore({ kind: 'file', dir })
    const moments = await written(store)
    // It takes what is strictly older than the time it is given, and refuses a time after its newest file.
    for (const [i, { timestampMs, hash }] of moments.slice(0, -1).entries()) {
      const output = join(dir, `out-${i}.db`)
      const time = new Date(timestampMs + 1).toISOString()
      const child = Bun.spawn(
        [litestream, 'restore', '-timestamp', time, '-o', output, `file://${join(dir, prefix)}`],
        { stdout: 'ignore', stderr: 'pipe' },
      )
      const [errors, code] = await Promise.all([new Response(child.stderr).text(), child.exited])
      expect(`${code} ${errors}`).toStartWith('0 ')
      expect(sha256(await Bun.file(output).bytes())).toBe(hash)
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
