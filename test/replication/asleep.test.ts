// Goal: an owner that wakes after everything it knew was merged and deleted still meets the seal of its successor, and no
// slot of its own line can be taken twice. Method: retention with nothing promised, a thousand days later.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SimClock } from '../../src/lib/clock.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { FencedError } from '../../src/replicate/errors.ts'
import { listLtx } from '../../src/replicate/ltx-store.ts'
import { mergeFiles, Pacer } from '../../src/replicate/merge-files.ts'
import { retainHistory } from '../../src/replicate/retention-pass.ts'
import { deadlineMs, Owner, restoredHash } from './histories.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dayMs = 24 * 60 * 60_000
const nothingPromised = { everyMs: 0, minutelyMs: 0, hourlyMs: 0 }

/** Merges everything into one image and deletes what is not needed for it, as if years had passed. */
async function forget(owner: Owner): Promise<void> {
  const scratchDir = mkdtempSync(join(tmpdir(), 'pf-forget-'))
  try {
    const clock = new SimClock(Date.now())
    const files = await listLtx(owner.at)
    const inputs = files
      .filter(({ level }) => level === 0)
      .sort((a, b) => a.minTxid - b.minTxid)
      .map(({ level, minTxid, maxTxid, sizeBytes }) => ({
        level,
        minTxid,
        maxTxid,
        sizeBytes,
        timestampMs: null,
        checksum: null,
      }))
    const pacer = new Pacer(clock, Number.MAX_SAFE_INTEGER)
    await mergeFiles(owner.at, { level: 9, inputs }, { clock, scratchDir, pacer })
    let state = { candidates: null, restoreMsMax: 0 } as Parameters<typeof retainHistory>[1]
    for (let pass = 0; pass < 3; pass++) {
      await clock.advance(1_000 * dayMs)
      state = { ...(await retainHistory(owner.at, state, { clock, policy: nothingPromised, pacer })), restoreMsMax: 0 }
    }
  } finally {
    rmSync(scratchDir, { recursive: true, force: true })
  }
}

test('an owner that wakes after the retention time meets the seal', async () => {
  const store = new MemoryObjectStore()
  await using asleep = await Owner.create(store)
  for (let n = 0; n < 5; n++) {
    await asleep.insert(`a${n}`)
    await asleep.flush()
  }
  const last = asleep.shipper.txid
  await using heir = await Owner.open(store, 2)
  for (let n = 0; n < 5; n++) {
    await heir.insert(`b${n}`)
    await heir.flush()
  }
  await forget(heir)
  const slots = (await listLtx(heir.at)).filter(({ level }) => level === 0).map(({ maxTxid }) => Number(maxTxid))
  expect(slots).toEqual([last + 1, heir.shipper.txid]) // the seal and the newest one
  const seq = await asleep.insert('from the past')
  await expect(asleep.shipper.waitDurable(seq, deadlineMs)).rejects.toBeInstanceOf(FencedError)
  await expect(Owner.open(store, 1)).rejects.toMatchObject({ code: 'stale_epoch' })
  await heir.insert('b5')
  await heir.flush()
  expect(await restoredHash(heir.at, null)).toBe(heir.hash())
})

test('an owner without anything to ship meets the seal when it looks', async () => {
  const store = new MemoryObjectStore()
  await using asleep = await Owner.create(store)
  await asleep.insert('a')
  await asleep.flush()
  await asleep.shipper.look(AbortSignal.timeout(deadlineMs))
  expect(asleep.fencedBy).toBeNull()
  const requests = store.requestCount
  await using heir = await Owner.open(store, 2)
  await forget(heir)
  await asleep.shipper.look(AbortSignal.timeout(deadlineMs))
  expect(asleep.fencedBy).toBeInstanceOf(FencedError)
  expect(store.requestCountOf('put')).toBeGreaterThan(0)
  expect(requests).toBe(3) // slot 1, slot 2, one look
  expect(heir.values()).toEqual(['a'])
})
